//! Secret files that others on the machine may read.

#![expect(
    clippy::disallowed_methods,
    reason = "a part of the one module that touches the file system"
)]

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The permission bits of everybody but owner and group.
const OTHERS: u32 = 0o007;
/// Of these, to pass through a folder.
const PASS: u32 = 0o001;

/// Where Docker and Podman put secrets into a container.
const CONTAINER_SECRETS: &str = "/run/secrets";
/// What Kubernetes keeps in a folder that it mounts a Secret on.
const KUBERNETES_MARK: &str = "..data";

/// The files that were warned of and are still open to others.
static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Warns once of a secret file that is open to others: of a new file again, and of one that was closed
/// and opened again. It may block as long as reading the file may.
pub(super) fn warn_of_readers(path: &Path) {
    let Ok(file) = path.metadata() else { return };
    if !is_open(path, &file) {
        WARNED.lock().remove(path);
    } else if WARNED.lock().insert(path.to_owned()) {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:04o}", file.mode() & 0o7777),
            "others on this machine may read this secret: make it readable by its owner only (chmod 600)"
        );
    }
}

/// Whether others may read or change the file, and reach it. A group is somebody's decision. So is what a
/// container is given: there the modes are open by default, and the container is the border.
fn is_open(path: &Path, file: &Metadata) -> bool {
    if file.mode() & OTHERS & !PASS == 0 {
        return false;
    }
    let mounted = path.starts_with(CONTAINER_SECRETS)
        || path
            .parent()
            .is_some_and(|folder| folder.join(KUBERNETES_MARK).exists());
    // Links are followed: what counts is where the file is.
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
        // Whose parents everybody may pass through.
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
