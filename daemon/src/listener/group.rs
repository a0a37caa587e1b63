//! Groups by name or number.

use rustix::fs::Gid;

/// The id of a group. Names are those of `/etc/group`; a group of another directory service goes by its number.
pub(super) fn find(group: &str) -> Option<Gid> {
    if let Ok(id) = group.parse() {
        return Some(Gid::from_raw(id));
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    // name:password:id:members, group(5)
    let line = groups.lines().find(|line| line.split(':').next() == Some(group))?;
    Some(Gid::from_raw(line.split(':').nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_or_a_number() {
        assert_eq!(find("root"), Some(Gid::ROOT));
        assert_eq!(find("1234"), Some(Gid::from_raw(1234)));
        assert_eq!(find("no such group"), None);
        assert_eq!(find(""), None);
    }
}
