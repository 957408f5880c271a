//! Functions on bytes that `core` does not offer as `const fn`.

/// Splits the first word off. The word is empty at the end of the text.
pub(super) const fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut from = 0;
    while from < text.len() && matches!(text[from], b' ' | b'\t') {
        from += 1;
    }
    let rest = text.split_at(from).1;
    let mut to = 0;
    while to < rest.len() && !matches!(rest[to], b' ' | b'\t') {
        to += 1;
    }
    rest.split_at(to)
}

/// Removes spaces and tabs at both ends.
pub(super) const fn trim(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = rest {
        rest = inner;
    }
    rest
}

/// Splits a text at the first `at`, which neither part has.
pub(super) const fn split(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut end = 0;
    while end < text.len() && text[end] != at {
        end += 1;
    }
    let (before, rest) = text.split_at(end);
    match rest {
        [] => (before, rest),
        [_, after @ ..] => (before, after),
    }
}

/// Returns `true` if a word is one of `words`, in any case of letters.
pub(super) const fn is_one_of(one: &[u8], words: &[&str]) -> bool {
    let mut at = 0;
    while at < words.len() {
        if eq_ignore_case(one, words[at].as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

pub(super) const fn is_quoted(word: &[u8]) -> bool {
    !word.is_empty() && word[0] == b'\''
}

pub(super) const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// Returns `true` if a text starts with `prefix`, in any case of letters.
pub(super) const fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && eq_ignore_case(text.split_at(prefix.len()).0, prefix)
}

/// Returns a hash that does not depend on the case of letters.
pub(super) const fn hash(word: &[u8]) -> usize {
    let (mut at, mut hash) = (0, 0_usize);
    while at < word.len() {
        hash = hash.wrapping_mul(31).wrapping_add(word[at].to_ascii_lowercase() as usize);
        at += 1;
    }
    hash
}

/// Stands in for `<[u8]>::eq_ignore_ascii_case`, which is `const` since Rust 1.89 only.
pub(super) const fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if !a[at].eq_ignore_ascii_case(&b[at]) {
            return false;
        }
        at += 1;
    }
    true
}

pub(super) const fn eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
