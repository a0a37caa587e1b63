//! Who may hand off.

use super::kinds::{Kind, Raw, quoted};
use crate::names;

/// Users of this system, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedUsers(Vec<User>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    /// None: there is none of this name.
    uid: Option<u32>,
}

impl AllowedUsers {
    /// These, as far as they exist.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let user =
            |name: &str| User { name: name.to_owned(), uid: names::user(name).map(rustix::fs::Uid::as_raw) };
        Self(names.into_iter().map(user).collect())
    }

    /// Whether processes of this user may hand off. root's and the daemon's own always may: they could do as they like
    /// with its socket in any case.
    #[must_use]
    pub fn allows(&self, uid: u32) -> bool {
        let listed = self.0.iter().any(|user| user.uid == Some(uid));
        listed || uid == 0 || uid == rustix::process::geteuid().as_raw()
    }

    /// The first name that nobody has.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.0.iter().find(|user| user.uid.is_none()).map(|user| user.name.as_str())
    }
}

impl Default for AllowedUsers {
    /// Apache's user on Debian and Ubuntu.
    fn default() -> Self {
        Self::of(["www-data"])
    }
}

impl Kind for AllowedUsers {
    type Value = Self;

    /// In flags and the environment names have commas between them.
    fn read(raw: &Raw) -> Result<Self, String> {
        let names: Option<Vec<&str>> = match raw {
            Raw::List(names) => names.iter().map(Raw::text).collect(),
            Raw::Untyped(names) => {
                Some(names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect())
            }
            _ => None,
        };
        let names = names.ok_or("a list of users, for example [\"www-data\"]")?;
        let users = Self::of(names);
        match users.missing() {
            Some(name) => Err(format!(
                "a list of users that exist: there is no {name:?} in /etc/passwd (a number works too)"
            )),
            None => Ok(users),
        }
    }

    fn show(value: &Self) -> String {
        let names: Vec<_> = value.0.iter().map(|user| quoted(&user.name)).collect();
        format!("[{}]", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_ourselves_and_those_listed_may() {
        let users = AllowedUsers::of(["1234"]);
        assert!(users.allows(1234) && users.allows(0) && !users.allows(1235));
        assert!(users.allows(rustix::process::geteuid().as_raw()));
        assert!(AllowedUsers::of([]).allows(0));
    }

    #[test]
    fn a_list_has_brackets_in_the_file_and_commas_elsewhere() {
        let list = Raw::List(vec![Raw::String("root".into()), Raw::String("7".into())]);
        let users = AllowedUsers::read(&list).unwrap();
        assert_eq!(AllowedUsers::read(&Raw::Untyped("root, 7".into())), Ok(users.clone()));
        assert_eq!(AllowedUsers::show(&users), "[\"root\", \"7\"]");
        assert_eq!(AllowedUsers::read(&Raw::Untyped(String::new())), Ok(AllowedUsers::of([])));
        for wrong in [Raw::String("root".into()), Raw::Boolean(true), Raw::List(vec![Raw::Boolean(true)])] {
            assert!(AllowedUsers::read(&wrong).unwrap_err().starts_with("a list of users"), "{wrong:?}");
        }
    }

    #[test]
    fn a_user_who_is_not_there_is_named() {
        let error = AllowedUsers::read(&Raw::Untyped("root,nobody-of-this-name".into())).unwrap_err();
        assert!(error.contains("\"nobody-of-this-name\""), "{error}");
    }
}
