//! Users and groups by name or number. Names are those of `/etc/passwd` and `/etc/group`; what another directory service
//! knows goes by its number.

use rustix::fs::{Gid, Uid};

/// The id of a user.
#[must_use]
pub fn user(name: &str) -> Option<Uid> {
    id(name, "/etc/passwd").map(Uid::from_raw)
}

/// The id of a group.
#[must_use]
pub fn group(name: &str) -> Option<Gid> {
    id(name, "/etc/group").map(Gid::from_raw)
}

/// Both files have lines `name:password:id:…`, passwd(5), group(5).
fn id(name: &str, file: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let lines = std::fs::read_to_string(file).ok()?;
    let line = lines.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        assert_eq!(group("root"), Some(Gid::ROOT));
        assert_eq!(group("1234"), Some(Gid::from_raw(1234)));
        assert_eq!(group("no such group"), None);
        assert_eq!(group(""), None);
        assert_eq!(user("root"), Some(Uid::ROOT));
        assert_eq!(user("1234"), Some(Uid::from_raw(1234)));
        assert_eq!(user("no such user"), None);
        assert_eq!(user(""), None);
    }
}
