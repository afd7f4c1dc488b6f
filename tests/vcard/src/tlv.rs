//! BER-TLV data objects, ISO/IEC 7816-4.

/// A data object.
pub fn of(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = match value.len() {
        0..0x80 => vec![length[7]],
        0x80..0x100 => vec![0x81, length[7]],
        _ => vec![0x82, length[6], length[7]],
    };
    [tag, &length, value].concat()
}

/// The value of the first data object with this tag among those in a row.
pub fn find<'d>(tag: &[u8], mut data: &'d [u8]) -> Option<&'d [u8]> {
    while !data.is_empty() {
        let long = data[0] & 0x1f == 0x1f;
        let (found, rest) = data.split_at_checked(1 + usize::from(long))?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
            _ => (usize::from(*first), rest),
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if found == tag {
            return Some(value);
        }
        data = rest;
    }
    None
}
