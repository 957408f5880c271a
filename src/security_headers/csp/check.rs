//! The checks of a policy when it is set.

use super::directive::Directive;
use super::grammar::{self, ParseError};
use super::merge::{List, find};
use super::policy::Csp;
use super::source::Source;
use crate::security_headers::error::InvalidHeader;

impl Csp {
    /// Returns the name of the endpoint that the policy names and does not define.
    pub(in crate::security_headers) fn undefined_endpoint(&self) -> Option<String> {
        self.reports_to().filter(|_| self.endpoint().is_none())
    }

    /// Checks the whole policy.
    pub(in crate::security_headers) fn check(&self) -> Result<(), InvalidHeader> {
        let list = self.check_directives()?;
        if find(&list, Directive::DEFAULT_SRC).is_some() || self.without_default_src {
            return Ok(());
        }
        let reason = "the policy has none: set it, or say without_default_src()";
        Err(self.refused("", reason).in_directive("default-src"))
    }

    /// Checks the directives, and returns them. The policy may be a part without `default-src`.
    pub(in crate::security_headers) fn check_directives(&self) -> Result<List, InvalidHeader> {
        let list = self.list();
        if list.is_empty() {
            return Err(self.refused("", "there is no directive"));
        }
        list.iter().try_for_each(|(directive, sources)| self.check_value(*directive, sources))?;
        Ok(list)
    }

    fn check_value(&self, directive: Directive, sources: &[Source]) -> Result<(), InvalidHeader> {
        let name = directive.name();
        for source in sources {
            // A single source may hide a space, which would make two words of it below.
            let text = source.as_str();
            grammar::check_characters(text.as_bytes())
                .map_err(|reason| self.refused(text, reason).in_directive(name))?;
        }
        let words: Vec<_> = sources.iter().map(Source::as_str).collect();
        // Custom words skip the grammar of the directive, but not its rules for the whole value.
        let custom: Vec<_> =
            sources.iter().filter(|source| source.is_custom()).map(Source::as_str).collect();
        let text = words.join(" ");
        grammar::check_value(directive.syntax(), name.as_bytes(), text.as_bytes(), &custom)
            .map_err(|error| self.error(&error))
    }

    pub(super) fn refused(&self, value: &str, reason: &'static str) -> InvalidHeader {
        InvalidHeader::new(self.name().as_str(), value, reason)
    }

    pub(super) fn error(&self, error: &ParseError<'_>) -> InvalidHeader {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let refused = self.refused(&text(error.value), error.reason);
        match error.directive {
            [] => refused,
            directive => refused.in_directive(text(directive)),
        }
    }
}
