//! Whom a plugin serves, as its admin says, and who asks. Looked at by the table for every call. Knows neither accounts nor
//! which role stands above which: whoever asks brings every role that theirs includes.

use crate::settings::Named;
use serde::{Deserialize, Serialize};

/// Whom a plugin serves. The default is everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audience {
    /// Those of this role and of every role that includes it.
    pub role: Option<String>,
    /// Those of these names, whatever their role.
    pub users: Vec<String>,
    /// Nobody of these names, whatever stands above.
    pub except: Vec<String>,
}

impl Audience {
    fn has(&self, whom: &Whom) -> bool {
        let is_for_all = self.role.is_none() && self.users.is_empty();
        let is_meant = is_for_all
            || self.users.contains(&whom.name)
            || self.role.as_ref().is_some_and(|role| whom.roles.contains(role));
        is_meant && !self.except.contains(&whom.name)
    }
}

/// Who asks. The default is nobody in particular, whom plugins for everybody serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whom {
    pub name: String,
    /// Their role, and those that it includes.
    pub roles: Vec<String>,
    /// The plugins that their request leaves out, as far as the admin lets it.
    pub without: Named,
}

/// What the admin lets happen to the calls of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) serves: Audience,
    pub(crate) may_be_left_out: bool,
}

impl Reach {
    /// Whether a plugin of these names is there for who asks.
    pub(crate) fn has<'a>(&self, whom: &Whom, mut names: impl Iterator<Item = &'a str>) -> bool {
        let is_left_out = self.may_be_left_out && names.any(|name| whom.without.has(name));
        self.serves.has(whom) && !is_left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(name: &str, roles: &[&str], without: &[&str]) -> Whom {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        Whom { name: name.into(), roles, without: Named::new(without.iter().copied()) }
    }

    #[test]
    fn an_audience_is_a_role_with_those_above_it_some_names_and_never_the_excepted() {
        let (ann, olga) = (whom("ann", &["user"], &[]), whom("olga", &["user", "operator"], &[]));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let role = |role: &str| Audience { role: Some(role.into()), ..Audience::default() };
        for (audience, has) in [
            (Audience::default(), [true, true]),
            (role("user"), [true, true]),
            (role("operator"), [false, true]),
            (Audience { users: names(&["ann"]), ..Audience::default() }, [true, false]),
            (Audience { users: names(&["ann"]), ..role("operator") }, [true, true]),
            (Audience { except: names(&["olga"]), ..Audience::default() }, [true, false]),
            (Audience { except: names(&["ann"]), users: names(&["ann"]), role: None }, [false, false]),
        ] {
            assert_eq!([audience.has(&ann), audience.has(&olga)], has, "{audience:?}");
        }
        assert!(!role("user").has(&Whom::default()));
    }

    #[test]
    fn only_what_may_be_left_out_is() {
        let without = whom("ann", &[], &["Watermark"]);
        for (may_be_left_out, is_there) in [(false, true), (true, false)] {
            let reach = Reach { may_be_left_out, ..Reach::default() };
            assert_eq!(reach.has(&without, ["mark", "WATERMARK"].into_iter()), is_there);
            assert!(reach.has(&without, ["other"].into_iter()));
        }
    }
}
