//! Commands and responses as they travel, ISO/IEC 7816-4: chained commands, responses in parts, and the
//! answer to what the applet does not take.

use heapless::Vec as Buffer;
use iso7816::command::CommandView;
use iso7816::{Instruction, Status};
use piv_authenticator::{Authenticator, Client};

use crate::attest::{self, Attester};
use crate::tlv;

/// The longest command, after chaining, and the longest response, before it is cut: more than an RSA-4096 key
/// or a certificate needs.
const LONGEST: usize = 4096;

/// The AID of PIV and how much of its start must be named to mean it: the registered application provider, of
/// whom no other applet is here. Yubico's software names no more.
const PIV_AID: [u8; 9] = [0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];
const PROVIDER: usize = 5;

/// The card that the reader sees.
pub struct Card<T> {
    applet: Authenticator<T>,
    attester: Attester,
    /// Whether the applet is selected.
    selected: bool,
    /// The data of a chained command, so far.
    chain: Vec<u8>,
    /// What is left of a response.
    response: Vec<u8>,
}

impl<T: Client> Card<T> {
    /// A card with this applet, whose keys `attester` attests.
    pub fn new(applet: Authenticator<T>, attester: Attester) -> Self {
        Self { applet, attester, selected: false, chain: Vec::new(), response: Vec::new() }
    }

    /// The whole response to a command, or the next part of the last one.
    fn answer(&mut self, octets: &[u8]) -> Result<Vec<u8>, Status> {
        let part = CommandView::try_from(octets).map_err(|_| Status::WrongLength)?;
        if part.instruction() == Instruction::GetResponse {
            return Ok(self.next_part(part.expected()));
        }
        self.chain.extend(part.data());
        if part.class().chain().not_the_last() {
            return Ok(Status::Success.to_u16().to_be_bytes().to_vec());
        }
        let data = std::mem::take(&mut self.chain);
        let [_, instruction, p1, p2] = octets[..4] else { unreachable!("it has been read") };
        self.response = self.run(instruction, p1, p2, data)?;
        Ok(self.next_part(part.expected()))
    }

    fn run(&mut self, instruction: u8, p1: u8, p2: u8, mut data: Vec<u8>) -> Result<Vec<u8>, Status> {
        if (instruction, p1) == (Instruction::Select.into(), 4) {
            self.selected =
                data.len() >= PROVIDER && (data.starts_with(&PIV_AID) || PIV_AID.starts_with(&data));
            if !self.selected {
                return Err(Status::NotFound);
            }
            // The applet wants more of the name.
            if data.len() < PIV_AID.len() {
                data = PIV_AID.to_vec();
            }
        }
        if !self.selected {
            return Err(Status::CommandNotAllowedNoEf);
        }
        match (instruction, p1) {
            (ATTEST, slot) => return self.attester.attest(slot).ok_or(Status::KeyReferenceNotFound),
            (GET_DATA, 0x3f) if tlv::find(&[0x5c], &data) == Some(&attest::OBJECT) => {
                return Ok(self.attester.object());
            }
            (IMPORT, RSA_1024 | RSA_2048) => data = with_exponent(&data),
            _ => {}
        }
        let length = u16::try_from(data.len()).map_err(|_| Status::WrongLength)?.to_be_bytes();
        let mut whole = vec![0, instruction, p1, p2];
        if !data.is_empty() {
            whole.extend([&[0][..], &length, &data].concat());
        }
        let command = CommandView::try_from(&whole[..]).map_err(|_| Status::WrongLength)?;
        let mut response = Buffer::<u8, LONGEST>::new();
        self.applet.respond(command, response.as_mut_view())?;
        let noted = match instruction {
            GENERATE => self.attester.made(p2, &response),
            IMPORT => self.attester.forget(p2),
            RESET => (0..attest::SLOT).try_for_each(|slot| self.attester.forget(slot)),
            _ => Ok(()),
        };
        noted.map_err(|_| Status::UnspecifiedPersistentExecutionError)?;
        Ok(response.to_vec())
    }

    /// As much of the response as is expected, and whether there is more. Without Le a part is as long as can
    /// be: clients leave it out and mean that.
    fn next_part(&mut self, expected: usize) -> Vec<u8> {
        let most = if expected == 0 { 256 } else { expected };
        let rest = self.response.split_off(most.min(self.response.len()));
        let mut part = std::mem::replace(&mut self.response, rest);
        let status = match self.response.len() {
            0 => Status::Success,
            left => Status::MoreAvailable(u8::try_from(left).unwrap_or(0)),
        };
        part.extend(status.to_u16().to_be_bytes());
        part
    }
}

/// An RSA key as the applet takes it: with the public exponent, which Yubico's software does not send, in the
/// place of the private one for the first prime.
fn with_exponent(data: &[u8]) -> Vec<u8> {
    let part = |tag: u8| tlv::find(&[tag], data).map(|value| tlv::of(&[tag], value)).unwrap_or_default();
    [part(1), part(2), tlv::of(&[3], &[1, 0, 1])].concat()
}

/// Instructions of PIV, and Yubico's.
const GENERATE: u8 = 0x47;
const GET_DATA: u8 = 0xcb;
const ATTEST: u8 = 0xf9;
const RESET: u8 = 0xfb;
const IMPORT: u8 = 0xfe;
/// Algorithms, as P1 of [`IMPORT`].
const RSA_1024: u8 = 6;
const RSA_2048: u8 = 7;

impl<T: Client> vpicc::VSmartCard for Card<T> {
    fn power_off(&mut self) {
        self.reset();
    }

    fn reset(&mut self) {
        self.selected = false;
        self.chain.clear();
        self.response.clear();
    }

    fn execute(&mut self, octets: &[u8]) -> Vec<u8> {
        self.answer(octets).unwrap_or_else(|status| {
            self.chain.clear();
            self.response.clear();
            status.to_u16().to_be_bytes().to_vec()
        })
    }
}
