//! The parameters of a query that are part of a key, and their order.

/// The choice of query parameters.
#[derive(Clone, Debug)]
pub(super) enum Query {
    All,
    None,
    /// The parameters with these names.
    Only(Vec<String>),
    /// All parameters except those with these names.
    Except(Vec<String>),
}

impl Query {
    /// Returns `true` if the key has each query as it is.
    #[inline]
    pub(super) fn is_whole(&self, sorted: bool) -> bool {
        matches!(self, Self::All) && !sorted
    }

    /// Appends a query with its `?` to the text of a key: only the chosen parameters, in the order of
    /// their names if `sorted`.
    pub(super) fn push(&self, text: &mut String, query: &str, sorted: bool) {
        if self.is_whole(sorted) {
            text.push('?');
            text.push_str(query);
            return;
        }
        let mut parameters: Vec<_> =
            query.split('&').filter(|parameter| self.has(parameter)).collect();
        // The sort is stable: parameters of one name keep their order.
        if sorted && !query.contains(';') {
            parameters.sort_by_cached_key(|parameter| loose_name(name_of(parameter).as_bytes()));
        }
        for (at, parameter) in parameters.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(parameter);
        }
    }

    fn has(&self, parameter: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(names) => {
                !is_plain(parameter) || is_named(names, name_of(parameter).as_bytes())
            }
            Self::Except(names) => {
                parameter.contains(';') || !is_named(names, name_of(parameter).as_bytes())
            }
        }
    }
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// Returns `true` if one of `names` is this name, or ends in `*` and is its prefix.
pub(super) fn is_named(names: &[String], name: &[u8]) -> bool {
    names.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    })
}

/// Returns `true` if every service reads the name of the parameter as it is spelled.
fn is_plain(parameter: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name_of(parameter).bytes().all(plain) && !parameter.contains(';')
}

/// Returns a name in a form that all names share which a service may take for one: services decode `%61` and `+`, some ignore case, and PHP reads `a.b` as `a_b`, and `a[x]` as a part
/// of `a`. If such names were sorted, requests with different values would share a key.
pub(super) fn loose_name(name: &[u8]) -> Vec<u8> {
    let mut loose = Vec::with_capacity(name.len());
    let mut at = 0;
    while let Some(&byte) = name.get(at) {
        let hex = |at: usize| name.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let (byte, next) = match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => ((high << 4 | low) as u8, at + 3),
            _ => (byte, at + 1),
        };
        at = next;
        match byte {
            b'[' => break,
            _ if byte.is_ascii_alphanumeric() => loose.push(byte.to_ascii_lowercase()),
            // PHP trims spaces from the start of a name.
            _ if loose.is_empty() => {}
            _ => loose.push(b'_'),
        }
    }
    loose
}

/// The parameters that analytics and advertising append to links.
pub(super) const TRACKING: [&str; 13] = [
    "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "twclid",
    "yclid", "mc_cid", "mc_eid", "_ga",
];
