//! What is refused when a policy is set.

use super::directive::Directive;
use super::grammar::{self, Fault, is_custom};
use super::policy::{Csp, List};
use super::source::Source;
use crate::security_headers::error::InvalidField;

impl Csp {
    /// The endpoint that it names and does not define.
    pub(in crate::security_headers) fn undefined(&self) -> Option<String> {
        let list = self.list();
        let (_, named) = list.iter().find(|(directive, _)| *directive == Directive::ReportTo)?;
        self.endpoint().is_none().then(|| named.first().map(Source::to_string))?
    }

    /// What is wrong with it by itself.
    pub(in crate::security_headers) fn check(&self) -> Result<(), InvalidField> {
        let list = self.check_part()?;
        let has_default = list.iter().any(|(directive, _)| *directive == Directive::DefaultSrc);
        if has_default || self.without_default_src {
            return Ok(());
        }
        let why = "the policy has none: set it, or say without_default_src()";
        Err(InvalidField::new(self.name(), "", why).directive_of("default-src"))
    }

    /// What is wrong with its directives.
    pub(in crate::security_headers) fn check_part(&self) -> Result<List, InvalidField> {
        let list = self.list();
        if list.is_empty() {
            return Err(InvalidField::new(self.name(), "", "there is no directive"));
        }
        list.iter().try_for_each(|(directive, sources)| self.check_one(*directive, sources))?;
        Ok(list)
    }

    fn check_one(&self, directive: Directive, sources: &[Source]) -> Result<(), InvalidField> {
        let name = directive.name();
        let refuse =
            |value: &str, why| Err(InvalidField::new(self.name(), value, why).directive_of(name));
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
        match grammar::value(directive.kind(), name.as_bytes(), words.join(" ").as_bytes()) {
            Some(fault) => Err(self.error(&fault)),
            None => Ok(()),
        }
    }

    pub(super) fn error(&self, fault: &Fault<'_>) -> InvalidField {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let error = InvalidField::new(self.name(), text(fault.value), fault.why);
        match fault.directive {
            [] => error,
            directive => error.directive_of(text(directive)),
        }
    }
}
