use super::super::hash::hash128;
use super::cache_key::{FORWARDED, X_FORWARDED};
use super::request_key::Key;

impl Key {
    /// Returns a number of the origin of the URL (RFC 9110 §4.3.1): its scheme, host and port, and
    /// what a trusted proxy says of them, if that is part of the key. A key without hosts has one
    /// origin.
    pub(crate) fn origin(&self) -> u128 {
        let mut origin = self.text[..self.path].to_owned();
        for line in self.text[self.url..].split('\n') {
            let name = line.split('=').next().unwrap_or_default();
            if is_of_origin(name) {
                origin.push('\n');
                origin.push_str(line);
            }
        }
        hash128(&origin)
    }
}

/// Returns `true` for a header of a proxy that tells the origin. A prefix of the path is no part of it.
fn is_of_origin(name: &str) -> bool {
    let is_forwarded = FORWARDED == *name || X_FORWARDED.iter().any(|of| of == name);
    is_forwarded && name != "x-forwarded-prefix"
}

#[cfg(test)]
mod tests;
