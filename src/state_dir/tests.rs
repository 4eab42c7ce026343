//! Tests of valid, damaged and foreign files in the state directory.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn failures() -> IntCounter {
    IntCounter::new("failures", "failures").unwrap()
}

async fn account(folder: &Path) -> AccountStateDir {
    StateDir::create_and_open(folder, failures())
        .await
        .unwrap()
        .account("zis", "acme", "https://acme.test/")
}

/// Writes a file, and waits until that is done.
async fn write(
    store: &AccountStateDir,
    item: &StateFile,
    content: impl Serialize + Send + 'static,
) {
    store.write(item.clone(), content);
    store.store.flush().await;
}

async fn read<T: DeserializeOwned + Send + 'static>(
    store: &AccountStateDir,
    item: &StateFile,
) -> Option<T> {
    store.read(item.clone(), Ok).await
}

fn target(id: &str) -> StateFile {
    StateFile::Target(id.to_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn what_was_written_is_read_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let store = account(&path).await;
    assert_eq!(read::<Vec<u32>>(&store, &target("t")).await, None);
    write(&store, &target("t"), [1, 2]).await;
    write(&store, &target("t"), [3]).await;
    assert_eq!(read::<Vec<u32>>(&store, &target("t")).await, Some(vec![3]));
    let file = path.join("zis.acme/target.t.json");
    assert_eq!(
        (mode(&path), mode(&path.join("zis.acme")), mode(&file)),
        (0o700, 0o700, 0o600)
    );
    assert_eq!(
        names(&path.join("zis.acme")).len(),
        1,
        "nothing unfinished is left"
    );
}

#[tokio::test]
async fn the_last_of_many_wishes_is_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = account(folder.path()).await;
    for n in 0..1000 {
        store.write(target("t"), [n]);
    }
    store.store.flush().await;
    assert_eq!(
        read::<Vec<u32>>(&store, &target("t")).await,
        Some(vec![999])
    );
}

#[tokio::test]
async fn no_damage_goes_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let store = account(folder.path()).await;
    let item = target("t");
    let whole = store.lines(&item, &["text", "2026-01-02"]).unwrap();
    let read = |bytes: &[u8]| store.parse::<Vec<String>>(&item, bytes);
    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut other = whole.clone();
            other[at] ^= 1 << bit;
            assert!(read(&other).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(read(&[&whole[..], b"more\n"].concat()).is_err());
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let store = account(folder.path()).await;
    let lines = store.lines(&target("t"), &[1]).unwrap();
    let says = |store: &AccountStateDir, id: &str, bytes: &[u8]| {
        let problem = store.parse::<Vec<u32>>(&target(id), bytes).unwrap_err();
        problem.to_string()
    };
    let future = String::from_utf8(lines.clone()).unwrap();
    let future = future.replacen("state\":1", "state\":2", 1);
    assert_eq!(
        says(&store, "t", future.as_bytes()),
        "is of format 2, and this version reads 1"
    );
    assert_eq!(
        says(&store, "t", b"# somebody's notes\n"),
        "is damaged, or not of this program"
    );
    assert_eq!(
        says(&store, "t", &lines[..lines.len() - 2]),
        "is damaged or only half written: its checksum is another one"
    );
    let foreign = "belongs to another account, host or target";
    assert_eq!(says(&store, "other", &lines), foreign);
    let other_host = store.store.account("zis", "acme", "https://else.test/");
    assert_eq!(says(&other_host, "t", &lines), foreign);
    let text = store.lines(&target("t"), &["text"]).unwrap();
    assert!(says(&store, "t", &text).starts_with("holds something else than expected"));
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_so_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = StateDir::create_and_open(folder.path(), failures())
        .await
        .unwrap();
    let refused = StateDir::create_and_open(folder.path(), failures())
        .await
        .unwrap_err()
        .to_string();
    let problem = "another process uses this directory: stop that process, choose another \
                   directory, or set --state.wait to take over when that process ends";
    assert!(refused.ends_with(problem), "{refused}");
    drop(first);
    assert!(
        StateDir::create_and_open(folder.path(), failures())
            .await
            .is_ok()
    );
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = StateDir::create_and_open(&file, failures())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.ends_with("is not a directory"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_written_is_counted_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let count = failures();
    let store = StateDir::create_and_open(folder.path(), count.clone())
        .await
        .unwrap();
    // A file in place of the account's directory.
    let in_the_way = folder.path().join("zis.acme");
    fs::write(&in_the_way, "somebody's").unwrap();
    let store = store.account("zis", "acme", "h");
    write(&store, &StateFile::Pace, 1).await;
    write(&store, &StateFile::Discovery, 1).await;
    assert_eq!(count.get(), 2);
    assert_eq!(fs::read_to_string(&in_the_way).unwrap(), "somebody's");
    fs::remove_file(&in_the_way).unwrap();
    write(&store, &StateFile::Pace, 1).await;
    assert_eq!(
        (count.get(), read(&store, &StateFile::Pace).await),
        (2, Some(1))
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_looked_up_for_a_while_keeps_the_lock() {
    let parent = tempfile::tempdir().unwrap();
    let (path, aside) = (parent.path().join("state"), parent.path().join("aside"));
    let store = account(&path).await;
    write(&store, &StateFile::Pace, 1).await;
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "a file").unwrap();
    let before = store.losses();
    write(&store, &StateFile::Pace, 2).await;
    assert_eq!(store.losses(), before + 1);
    let refused = StateDir::create_and_open(&aside, failures()).await;
    assert!(matches!(refused, Err(OpenError::InUse(_))), "{refused:?}");
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    write(&store, &StateFile::Pace, 3).await;
    assert_eq!(store.losses(), before + 1);
    assert_eq!(read(&store, &StateFile::Pace).await, Some(3));
}

#[tokio::test]
async fn what_is_gone_is_removed_and_what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let acme = folder.path().join("zis.acme");
    fs::create_dir(&acme).unwrap();
    fs::write(acme.join(".connections-exporter-x.tmp"), "half").unwrap();
    let store = StateDir::create_and_open(folder.path(), failures())
        .await
        .unwrap();
    for name in ["acme", "gone"] {
        let account = store.account("zis", name, "h");
        for item in [
            StateFile::Pace,
            StateFile::Discovery,
            target("a"),
            target("b"),
        ] {
            write(&account, &item, 1).await;
        }
    }
    fs::write(acme.join("notes.txt"), "somebody's").unwrap();
    fs::create_dir(folder.path().join("else")).unwrap();
    fs::write(folder.path().join("else/notes.txt"), "somebody's").unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("else/.unfinished-x.tmp"), "somebody's").unwrap();

    store.keep_accounts([("zis", "acme")].into_iter());
    store.flush().await;
    assert_eq!(
        names(folder.path()),
        ["else", "lock", "lost+found", "zis.acme"]
            .map(str::to_owned)
            .into()
    );
    let account = store.account("zis", "acme", "h");
    account.keep_targets(["b"].into_iter());
    store.flush().await;
    let left = ["discovery.json", "notes.txt", "pace.json", "target.b.json"];
    assert_eq!(names(&acme), left.map(str::to_owned).into());
    assert_eq!(names(&folder.path().join("else")).len(), 2);
}

#[tokio::test]
async fn every_name_is_one_file_inside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(400);
    let other = format!("{long}y");
    let odd = ["../../etc", "a/b", "a%2Fb", "", ".", "ä \n", &long, &other];
    for (n, name) in odd.iter().enumerate() {
        let account = account(folder.path()).await;
        let account = account.store.account("zis", name, "h");
        write(&account, &target(name), n).await;
    }
    let account = account(folder.path()).await;
    for (n, name) in odd.iter().enumerate() {
        let account = account.store.account("zis", name, "h");
        assert_eq!(read(&account, &target(name)).await, Some(n), "{name:?}");
    }
    assert_eq!(names(folder.path()).len(), odd.len() + 1);
}

#[tokio::test]
async fn a_file_that_hangs_holds_up_its_own_account_only_and_what_waits_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = StateDir::create_and_open(folder.path(), failures())
        .await
        .unwrap();
    let account = |name| store.account("zis", name, "h");
    let (release, released) = std::sync::mpsc::channel::<()>();
    let last_listing = account("held");
    let hung = last_listing.ask("held.json".to_owned(), move |_| {
        let _ = released.recv();
    });
    for n in 0..1000 {
        last_listing.write(target("t"), [n]);
        last_listing.keep_targets(["t"].into_iter());
    }
    let free = account("free");
    free.write(target("t"), [1]);
    assert_eq!(read(&free, &target("t")).await, Some(vec![1]));
    // The wait ends, although the disk makes progress for other accounts.
    let gives_up = last_listing.read_or_write(StateFile::Pace, 1).await;
    assert_eq!((gives_up, hung.await), (Stored::Unusable, None));
    assert_eq!(read(&free, &target("t")).await, Some(vec![1]));
    release.send(()).unwrap();
    store.flush().await;
    assert_eq!(read(&last_listing, &target("t")).await, Some(vec![999]));
    assert_eq!(
        read::<u32>(&last_listing, &StateFile::Pace).await,
        None,
        "nobody waited for it any more"
    );
}

#[tokio::test]
async fn what_is_missing_or_of_no_use_is_on_the_disk_before_it_is_gone_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = account(folder.path()).await;
    let file = folder.path().join("zis.acme/pace.json");
    let asked = store.read_or_write(StateFile::Pace, 1).await;
    assert!(file.exists());
    assert_eq!(asked, Stored::Nothing);
    assert_eq!(
        store.read_or_write(StateFile::Pace, 2).await,
        Stored::This(1)
    );
    fs::write(&file, "half").unwrap();
    assert_eq!(
        store.read_or_write(StateFile::Pace, 3).await,
        Stored::Unusable
    );
    assert_eq!(read(&store, &StateFile::Pace).await, Some(3));
}

#[tokio::test]
async fn an_account_that_comes_back_before_it_was_removed_keeps_what_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = account(folder.path()).await;
    write(&store, &target("t"), 1).await;
    for _ in 0..50 {
        store.store.keep_accounts(std::iter::empty());
        store.store.keep_accounts([("zis", "acme")].into_iter());
        let kept = store.read_or_write(StateFile::Pace, 1).await;
        assert_ne!(kept, Stored::Unusable);
        store.store.flush().await;
        assert_eq!(read(&store, &StateFile::Pace).await, Some(1));
    }
}
