//! Which paths and link targets a manifest may hold. A backslash is an ordinary character, as it is to the kernel
//! (systemd's unit names have it); nothing here ever splits a path at anything but `/`.

const PATH_LENGTH_MAX: usize = 4096;
const COMPONENT_LENGTH_MAX: usize = 255;

/// A path that no manifest may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("the path is longer than 4096 bytes")]
    TooLong,
    #[error("a component of the path is longer than 255 bytes")]
    ComponentTooLong,
    #[error("the path is absolute")]
    Absolute,
    #[error("the path has an empty component")]
    EmptyComponent,
    #[error("the path has a component `.` or `..`")]
    Dots,
    #[error("the path has a zero byte")]
    Nul,
}

/// A link that leaves its tree, or could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkFault {
    NoTarget,
    Absolute,
    Leaves,
    /// `..` after a component that is no plain directory of the tree: where it leads depends on another link.
    Winding,
}

pub(crate) fn check_path(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > PATH_LENGTH_MAX {
        return Err(PathError::TooLong);
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute);
    }
    for component in path.split('/') {
        match component {
            "" => return Err(PathError::EmptyComponent),
            "." | ".." => return Err(PathError::Dots),
            _ if component.len() > COMPONENT_LENGTH_MAX => return Err(PathError::ComponentTooLong),
            _ if component.contains('\0') => return Err(PathError::Nul),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that the link at `path` with `target` stays inside the tree. `is_directory` tells whether a path is a
/// plain directory of the tree: only through such may a target go back with `..`, since behind another link `..`
/// would start from a place that the text does not show.
pub(crate) fn check_link(
    path: &str,
    target: &str,
    is_directory: impl Fn(&str) -> bool,
) -> Result<(), LinkFault> {
    if target.is_empty() || target.len() >= PATH_LENGTH_MAX || target.contains('\0') {
        return Err(LinkFault::NoTarget);
    }
    if target.starts_with('/') {
        return Err(LinkFault::Absolute);
    }
    let mut at: Vec<&str> = path.split('/').collect();
    at.pop();
    let mut plain = true;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                if !plain && !is_directory(&at.join("/")) {
                    return Err(LinkFault::Winding);
                }
                plain = true;
                at.pop().ok_or(LinkFault::Leaves)?;
            }
            _ if component.len() > COMPONENT_LENGTH_MAX => return Err(LinkFault::NoTarget),
            _ => {
                plain = false;
                at.push(component);
            }
        }
    }
    Ok(())
}

/// The path that holds `path`, if it is not the top.
pub(crate) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::{LinkFault, PathError, check_link, check_path};

    #[test]
    fn only_plain_relative_paths_are_paths() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(2100) + "a";
        for (path, expected) in [
            ("a", Ok(())),
            ("a/b c/ü", Ok(())),
            ("dev-disk-by\\x2dlabel.swap", Ok(())),
            ("...", Ok(())),
            ("", Err(PathError::Empty)),
            ("/a", Err(PathError::Absolute)),
            ("a//b", Err(PathError::EmptyComponent)),
            ("a/", Err(PathError::EmptyComponent)),
            (".", Err(PathError::Dots)),
            ("a/../b", Err(PathError::Dots)),
            ("a/./b", Err(PathError::Dots)),
            ("a\0b", Err(PathError::Nul)),
            (long.as_str(), Err(PathError::ComponentTooLong)),
            (deep.as_str(), Err(PathError::TooLong)),
        ] {
            assert_eq!(check_path(path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_link_stays_inside_even_through_other_links() {
        let directories = ["x", "x/y"];
        let is_directory = |path: &str| directories.contains(&path);
        for (path, target, expected) in [
            ("l", "x", Ok(())),
            ("l", "x/../x/./y", Ok(())),
            ("x/y/l", "../../x", Ok(())),
            ("x/y/l", "../..", Ok(())),
            ("l", "missing", Ok(())),
            ("l", "..", Err(LinkFault::Leaves)),
            ("x/y/l", "../../..", Err(LinkFault::Leaves)),
            ("x/y/l", "../y/../../..", Err(LinkFault::Leaves)),
            // With `x/y/up` a link to `..`, `up/../..` would be one level above the tree.
            ("x/y/l", "up/../..", Err(LinkFault::Winding)),
            ("l", "/etc/passwd", Err(LinkFault::Absolute)),
            ("l", "", Err(LinkFault::NoTarget)),
        ] {
            assert_eq!(check_link(path, target, is_directory), expected, "{path} -> {target}");
        }
    }
}
