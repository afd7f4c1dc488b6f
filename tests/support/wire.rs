//! Messages as octets that can be bent: a pkiMessage taken apart, changed and, where wanted, signed again.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use tokenca::pki::{Hash, SigningKey};

/// One DER element; what is constructed is taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Der {
    pub tag: u8,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Octets(Vec<u8>),
    Parts(Vec<Der>),
}

impl Der {
    /// Takes DER apart that holds one element.
    pub fn parse(octets: &[u8]) -> Self {
        let (element, rest) = Self::first(octets);
        assert!(rest.is_empty(), "octets after the element");
        element
    }

    fn first(octets: &[u8]) -> (Self, &[u8]) {
        let (tag, short) = (octets[0], usize::from(octets[1]));
        let (length, head) = match short {
            0..=127 => (short, 2),
            _ => {
                let count = short - 128;
                (octets[2..2 + count].iter().fold(0, |n, octet| n << 8 | usize::from(*octet)), 2 + count)
            }
        };
        let (content, rest) = octets[head..].split_at(length);
        let content = match tag & 0x20 {
            0 => Content::Octets(content.to_vec()),
            _ => {
                let (mut parts, mut left) = (Vec::new(), content);
                while !left.is_empty() {
                    let (part, rest) = Self::first(left);
                    (left, _) = (rest, parts.push(part));
                }
                Content::Parts(parts)
            }
        };
        (Self { tag, content }, rest)
    }

    pub fn primitive(tag: u8, octets: &[u8]) -> Self {
        Self { tag, content: Content::Octets(octets.to_vec()) }
    }

    /// DER again.
    pub fn octets(&self) -> Vec<u8> {
        let content = match &self.content {
            Content::Octets(octets) => octets.clone(),
            Content::Parts(parts) => parts.iter().flat_map(Self::octets).collect(),
        };
        [header(self.tag, content.len()), content].concat()
    }

    /// The element at the end of this path of positions.
    pub fn at(&mut self, path: &[usize]) -> &mut Self {
        path.iter().fold(self, |element, position| &mut element.parts()[*position])
    }

    pub fn parts(&mut self) -> &mut Vec<Der> {
        match &mut self.content {
            Content::Parts(parts) => parts,
            Content::Octets(_) => panic!("the element {:02x} is primitive", self.tag),
        }
    }

    pub fn value(&mut self) -> &mut Vec<u8> {
        match &mut self.content {
            Content::Octets(octets) => octets,
            Content::Parts(_) => panic!("the element {:02x} is constructed", self.tag),
        }
    }
}

/// Tag and length.
pub fn header(tag: u8, length: usize) -> Vec<u8> {
    if length < 128 {
        return vec![tag, length as u8];
    }
    let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    [&[tag, 0x80 | octets.len() as u8], &octets[..]].concat()
}

/// A pkiMessage with an envelope inside, both taken apart.
#[derive(Clone)]
pub struct Forgery {
    pub message: Der,
    pub envelope: Der,
}

impl Forgery {
    /// Of a message as [`tokenca::scep::client`] writes it.
    pub fn of(octets: &[u8]) -> Self {
        let mut message = Der::parse(octets);
        let envelope = Der::parse(message.at(CONTENT).value());
        Self { message, envelope }
    }

    /// The signed attribute with this type.
    pub fn whole_attribute(&mut self, oid: &[u8]) -> &mut Der {
        let attributes = self.message.at(SIGNED_ATTRIBUTES).parts();
        let named = |attribute: &Der| match &attribute.content {
            Content::Parts(parts) => parts[0] == Der::primitive(0x06, oid),
            Content::Octets(_) => false,
        };
        attributes.iter_mut().find(|a| named(a)).expect("the message has this attribute")
    }

    /// The value of the signed attribute with this type.
    pub fn attribute(&mut self, oid: &[u8]) -> &mut Der {
        self.whole_attribute(oid).at(&[1, 0])
    }

    /// encryptedKey of the first recipient.
    pub fn encrypted_key(&mut self) -> &mut Vec<u8> {
        self.envelope.at(&[1, 0, 1, 0, 3]).value()
    }

    /// serialNumber of the first recipient.
    pub fn recipient_serial(&mut self) -> &mut Vec<u8> {
        self.envelope.at(&[1, 0, 1, 0, 1, 1]).value()
    }

    /// encryptedContent.
    pub fn encrypted_content(&mut self) -> &mut Vec<u8> {
        self.envelope.at(&[1, 0, 2, 2]).value()
    }

    /// The initialisation vector.
    pub fn iv(&mut self) -> &mut Vec<u8> {
        self.envelope.at(&[1, 0, 2, 1, 1]).value()
    }

    /// The signature.
    pub fn signature(&mut self) -> &mut Vec<u8> {
        self.message.at(&[1, 0, 4, 0, 5]).value()
    }

    /// The octets as they are now, with whatever digest and signature they have.
    pub fn octets(&mut self) -> Vec<u8> {
        *self.message.at(CONTENT).value() = self.envelope.octets();
        self.message.octets()
    }

    /// The octets with messageDigest and signature made right again.
    pub fn signed(&mut self, key: &dyn SigningKey) -> Vec<u8> {
        let digest = Hash::Sha256.digest(&[&self.envelope.octets()]);
        *self.attribute(MESSAGE_DIGEST).value() = digest;
        self.signed_as_is(key)
    }

    /// The octets with the signature alone made right again.
    pub fn signed_as_is(&mut self, key: &dyn SigningKey) -> Vec<u8> {
        let attributes = self.message.at(SIGNED_ATTRIBUTES);
        attributes.parts().sort_by_key(Der::octets);
        let set = Der { tag: 0x31, content: attributes.content.clone() };
        *self.signature() = key.sign(Hash::Sha256, &set.octets()).expect("the key signs");
        self.octets()
    }
}

const CONTENT: &[usize] = &[1, 0, 2, 1, 0];
const SIGNED_ATTRIBUTES: &[usize] = &[1, 0, 4, 0, 3];
pub const MESSAGE_DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
pub const MESSAGE_TYPE: &[u8] = b"\x60\x86\x48\x01\x86\xf8\x45\x01\x09\x02";
pub const TRANSACTION_ID: &[u8] = b"\x60\x86\x48\x01\x86\xf8\x45\x01\x09\x07";
pub const SENDER_NONCE: &[u8] = b"\x60\x86\x48\x01\x86\xf8\x45\x01\x09\x05";
