//! What `core` offers for iterators and strings, for `const fn`.

/// The next word, and what follows it; empty at the end.
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

/// Without the space around it.
pub(super) const fn trim(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = rest {
        rest = inner;
    }
    rest
}

/// What is before and after the first `at`.
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

pub(super) const fn is_one_of(one: &[u8], words: &[&str]) -> bool {
    let mut at = 0;
    while at < words.len() {
        if same(one, words[at].as_bytes()) {
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

pub(super) const fn starts(text: &[u8], with: &[u8]) -> bool {
    text.len() >= with.len() && same(text.split_at(with.len()).0, with)
}

/// The same for words that differ in the case of letters only.
pub(super) const fn hash(word: &[u8]) -> usize {
    let (mut at, mut hash) = (0, 0_usize);
    while at < word.len() {
        hash = hash.wrapping_mul(31).wrapping_add(word[at].to_ascii_lowercase() as usize);
        at += 1;
    }
    hash
}

/// Equal but for the case of letters.
pub(super) const fn same(a: &[u8], b: &[u8]) -> bool {
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

pub(super) const fn exactly(a: &[u8], b: &[u8]) -> bool {
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
