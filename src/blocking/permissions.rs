//! Warnings about secret files that other users of the machine may read.

#![expect(
    clippy::disallowed_methods,
    reason = "a part of the one module that touches the file system"
)]

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Permission bits of all users except owner and group.
const OTHERS: u32 = 0o007;
/// The bit of these that allows traversing a directory.
const PASS: u32 = 0o001;

/// Directory in which Docker and Podman mount secrets.
const CONTAINER_SECRETS: &str = "/run/secrets";
/// Entry that Kubernetes creates in a directory on which it mounts a Secret.
const KUBERNETES_MARK: &str = "..data";

/// Files that were warned about and are still open to others.
static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Warns once about a secret file that is open to others.
///
/// It warns again about a new file, and about one that was closed to others in between. It may
/// block as long as reading the file may.
pub(super) fn warn_of_readers(path: &Path) {
    let Ok(file) = path.metadata() else { return };
    if !is_open(path, &file) {
        WARNED.lock().remove(path);
    } else if WARNED.lock().insert(path.to_owned()) {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:04o}", file.mode() & 0o7777),
            "others on this machine may read this secret: make it readable by its owner only \
                (chmod 600)"
        );
    }
}

/// Returns whether others may read or change the file, and reach it.
///
/// Group permissions are accepted as a deliberate choice. So are the modes of secrets mounted into
/// a container: they are open by default, and the container is the security boundary.
fn is_open(path: &Path, file: &Metadata) -> bool {
    if file.mode() & OTHERS & !PASS == 0 {
        return false;
    }
    let mounted = path.starts_with(CONTAINER_SECRETS)
        || path
            .parent()
            .is_some_and(|folder| folder.join(KUBERNETES_MARK).exists());
    // Links are resolved first, because the permissions of the actual location count.
    let Ok(whole) = path.canonicalize() else {
        return false;
    };
    let passes = |folder: &Path| folder.metadata().is_ok_and(|data| data.mode() & PASS != 0);
    !mounted && whole.ancestors().skip(1).all(passes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_is_open_if_others_may_read_it_and_reach_it_and_no_orchestrator_put_it_there() {
        // A directory with parents that all users may traverse.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "t").unwrap();
        let is_open = |folder_mode, mode| {
            chmod(folder.path(), folder_mode);
            chmod(&file, mode);
            is_open(&file, &file.metadata().unwrap())
        };
        for mode in [0o600, 0o640, 0o440, 0o400] {
            assert!(!is_open(0o755, mode), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602, 0o444] {
            assert!(is_open(0o755, mode), "{mode:o}");
            assert!(!is_open(0o700, mode), "{mode:o}");
        }
        fs::create_dir(folder.path().join("..data")).unwrap();
        assert!(!is_open(0o755, 0o644));
    }
}
