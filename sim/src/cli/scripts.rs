//! `synap-sim run --scripts DIR`: every kept plan again. Each once failed; none may again.

use std::path::{Path, PathBuf};

use super::run_plan;
use crate::script::load;

/// Runs every script in `dir`, in the order of their names. Gives the exit code of the first that is not good.
pub(super) fn run(dir: &Path) -> u8 {
    let scripts = match scripts_in(dir) {
        Ok(scripts) => scripts,
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            return 2;
        }
    };
    if scripts.is_empty() {
        eprintln!("{}: there is no script here", dir.display());
        return 2;
    }
    let codes: Vec<u8> = scripts.iter().map(|path| run_one(path)).collect();
    println!("{} scripts, {} good", codes.len(), codes.iter().filter(|code| **code == 0).count());
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

fn scripts_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths: std::io::Result<Vec<PathBuf>> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    let mut scripts: Vec<PathBuf> =
        paths?.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    scripts.sort();
    Ok(scripts)
}

fn run_one(path: &Path) -> u8 {
    match load(&path.display().to_string()) {
        Ok((level, plan)) => {
            let verdict = run_plan(level, &plan, false).verdict;
            if !verdict.is_good() {
                println!("{}: {verdict}", path.display());
            }
            verdict.exit_code()
        }
        Err(error) => {
            eprintln!("{error}");
            2
        }
    }
}
