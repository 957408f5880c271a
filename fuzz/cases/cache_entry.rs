//! Any bytes: what is an entry is written as the same bytes again, and all else is an error.

use bytes::Bytes;
use tower_kit::cache::Entry;

/// The bytes before the key, and the bytes beside key, head and body.
const FIXED: usize = 22;
const FRAME: usize = FIXED + 4;

pub(crate) fn check(bytes: &[u8]) {
    of_key(bytes, "");
    let Some((key, mended)) = mended(bytes) else { return };
    of_key(bytes, &key);
    of_key(&mended, &key);
}

fn of_key(bytes: &[u8], key: &str) {
    if let Ok(entry) = Entry::from_bytes(Bytes::copy_from_slice(bytes), key) {
        assert_eq!(entry.to_bytes(key), bytes);
        let other = Entry::from_bytes(Bytes::copy_from_slice(bytes), &format!("{key} "));
        assert!(other.is_err_and(|fault| fault.is_other_key()));
    }
}

/// The stated key, and the bytes with a length of the body and a checksum that are right, which no
/// mutation finds.
fn mended(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let length = |at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    };
    let (key, head) = (length(6)?, length(10)?);
    let body = bytes.len().checked_sub(FRAME.checked_add(key)?.checked_add(head)?)?;
    let text = String::from_utf8(bytes[FIXED..FIXED + key].to_vec()).ok()?;
    let mut mended = bytes[..bytes.len() - 4].to_vec();
    mended[14..22].copy_from_slice(&(body as u64).to_be_bytes());
    mended.extend(crc32fast::hash(&mended).to_be_bytes());
    Some((text, mended))
}
