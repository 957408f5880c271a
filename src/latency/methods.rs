use http::Method;
use metrics::SharedString;

/// The methods that get a label value of their own: the methods of the IANA registry, and those
/// added by the user.
#[derive(Clone, Debug, Default)]
pub(super) struct Methods {
    extra: Vec<Method>,
}

/// The identifier of a method: an index into [`REGISTERED`] followed by the user's methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodId(pub(super) u16);

impl Methods {
    pub(super) fn new(extra: impl IntoIterator<Item = Method>) -> Self {
        let mut methods = Self::default();
        for method in extra {
            if methods.id(&method) == MethodId::OTHER && methods.len() < usize::from(u16::MAX) {
                methods.extra.push(method);
            }
        }
        methods
    }

    #[inline]
    pub(super) fn id(&self, method: &Method) -> MethodId {
        MethodId(match *method {
            Method::GET => 0,
            Method::POST => 1,
            Method::HEAD => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::PATCH => 5,
            Method::OPTIONS => 6,
            Method::CONNECT => 7,
            Method::TRACE => 8,
            _ => return self.rare(method),
        })
    }

    #[cold]
    fn rare(&self, method: &Method) -> MethodId {
        let registered = REGISTERED.iter().position(|name| *name == method.as_str());
        let extra = || self.extra.iter().position(|name| name == method);
        let found = registered.or_else(|| extra().map(|at| REGISTERED.len() + at));
        found.and_then(|at| u16::try_from(at).ok()).map_or(MethodId::OTHER, MethodId)
    }

    pub(super) fn name(&self, id: MethodId) -> SharedString {
        let at = usize::from(id.0);
        match (REGISTERED.get(at), self.extra.get(at.saturating_sub(REGISTERED.len()))) {
            (Some(name), _) => SharedString::const_str(name),
            (None, Some(method)) => method.as_str().to_owned().into(),
            (None, None) => SharedString::const_str(OTHER),
        }
    }

    /// Returns the number of identifiers.
    pub(super) fn len(&self) -> usize {
        REGISTERED.len() + self.extra.len()
    }
}

impl MethodId {
    pub(super) const POST: Self = Self(1);
    pub(super) const HEAD: Self = Self(2);
    pub(super) const CONNECT: Self = Self(7);
    pub(super) const OTHER: Self = Self(9);
}

const OTHER: &str = "_OTHER";

/// The methods of RFC 9110 and RFC 5789, in the order of [`Methods::id`], the label of unknown
/// methods, and the other methods of the [registry].
///
/// [registry]: https://www.iana.org/assignments/http-methods
const REGISTERED: [&str; 42] = [
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    OTHER,
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    // Reserved by RFC 9110 §18.2, but a server may receive it.
    "*",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(methods: &Methods, method: &str) -> String {
        methods.name(methods.id(&Method::from_bytes(method.as_bytes()).unwrap())).to_string()
    }

    #[test]
    fn registered_methods_keep_their_names() {
        let methods = Methods::default();
        for name in REGISTERED {
            assert_eq!(named(&methods, name), name);
        }
        for other in ["get", "PURGE", "GETT", "_OTHER"] {
            assert_eq!(named(&methods, other), "_OTHER");
        }
        assert_eq!(REGISTERED[usize::from(MethodId::OTHER.0)], OTHER);
    }

    #[test]
    fn extra_methods_are_added_once() {
        let parse = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
        let methods = Methods::new(["PURGE", "GET", "BAN", "PURGE", "query"].map(parse));
        assert_eq!(methods.len(), REGISTERED.len() + 3);
        for name in ["PURGE", "GET", "BAN", "query"] {
            assert_eq!(named(&methods, name), name);
        }
        assert_eq!(named(&methods, "purge"), "_OTHER");
    }
}
