//! Sets the revision and the compiler version for `--version` and
//! `connections_exporter_build_info`.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script prints, and waits"
)]

use std::process::Command;

fn main() {
    // A release archive has no repository, so its builder sets `BUILD_REVISION`.
    let revision = std::env::var("BUILD_REVISION")
        .ok()
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = std::env::var("RUSTC")
        .ok()
        .and_then(|rustc| output(&rustc, &["--version"]));
    println!(
        "cargo::rustc-env=BUILD_REVISION={}",
        revision.as_deref().unwrap_or("unknown")
    );
    println!(
        "cargo::rustc-env=BUILD_RUSTC={}",
        rustc
            .as_deref()
            .and_then(|v| v.split(' ').nth(1))
            .unwrap_or("unknown")
    );
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["HEAD", "logs/HEAD"] {
        // In a worktree or a submodule, .git is a file that names the directory.
        if let Some(file) = output("git", &["rev-parse", "--git-path", file])
            && std::path::Path::new(&file).exists()
        {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
