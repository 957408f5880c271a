//! What is refused when a policy is set.

use super::directive::Directive;
use super::grammar::{self, Fault, is_custom};
use super::policy::{Csp, List};
use super::source::Source;
use super::union::find;
use crate::security_headers::error::InvalidField;

impl Csp {
    /// The endpoint that it names and does not define.
    pub(in crate::security_headers) fn undefined(&self) -> Option<String> {
        self.reports_to().filter(|_| self.endpoint().is_none())
    }

    /// What is wrong with it by itself.
    pub(in crate::security_headers) fn check(&self) -> Result<(), InvalidField> {
        let list = self.check_part()?;
        if find(&list, Directive::DefaultSrc).is_some() || self.without_default_src {
            return Ok(());
        }
        let why = "the policy has none: set it, or say without_default_src()";
        Err(self.refused("", why).directive_of("default-src"))
    }

    /// What is wrong with its directives.
    pub(in crate::security_headers) fn check_part(&self) -> Result<List, InvalidField> {
        let list = self.list();
        if list.is_empty() {
            return Err(self.refused("", "there is no directive"));
        }
        list.iter().try_for_each(|(directive, sources)| self.check_one(*directive, sources))?;
        Ok(list)
    }

    fn check_one(&self, directive: Directive, sources: &[Source]) -> Result<(), InvalidField> {
        let name = directive.name();
        let refuse = |value: &str, why| Err(self.refused(value, why).directive_of(name));
        if matches!(directive, Directive::Custom(_)) && !is_custom(name) {
            return refuse(name, "not a name in lower case that no other directive has");
        }
        for source in sources {
            let text = source.as_str();
            if let Some(why) = grammar::characters(text.as_bytes()).or(source.fault()) {
                return refuse(text, why);
            }
        }
        let words: Vec<_> = sources.iter().map(Source::as_str).collect();
        let custom: Vec<_> =
            sources.iter().filter(|source| source.is_custom()).map(Source::as_str).collect();
        let text = words.join(" ");
        match grammar::value(directive.kind(), name.as_bytes(), text.as_bytes(), &custom) {
            Some(fault) => Err(self.error(&fault)),
            None => Ok(()),
        }
    }

    pub(super) fn refused(&self, value: &str, why: &'static str) -> InvalidField {
        InvalidField::new(self.name().as_str(), value, why)
    }

    pub(super) fn error(&self, fault: &Fault<'_>) -> InvalidField {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let error = self.refused(&text(fault.value), fault.why);
        match fault.directive {
            [] => error,
            directive => error.directive_of(text(directive)),
        }
    }
}
