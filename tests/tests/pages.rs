//! The pages of the documentation: their code is tested, their links lead somewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast_tests::run;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file of the repository's documentation.
fn pages() -> Result<Vec<PathBuf>> {
    let mut folders = vec![root().join("docs")];
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    ensure!(pages.len() > 20, "only {} pages found", pages.len());
    Ok(pages)
}

#[test]
fn every_page_with_code_is_among_the_tested_ones() -> Result<()> {
    let list = include_str!("../src/lib.rs");
    for page in pages()? {
        let text = std::fs::read_to_string(&page)?;
        let name = page.file_name().and_then(|n| n.to_str()).context("a name")?;
        let listed = list.contains(&format!("\"{name}\"")) || list.contains(&format!("/{name}\""));
        ensure!(!text.contains("```rust") || listed, "{name} has Rust code that no test runs");
        ensure!(!text.contains("```rust,ignore"), "{name} has code that is ignored");
    }
    Ok(())
}

#[test]
fn links_and_pictures_of_the_pages_are_there() -> Result<()> {
    let mut links = 0;
    for page in pages()? {
        let text = std::fs::read_to_string(&page)?;
        let folder = page.parent().context("a folder")?;
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            links += 1;
            ensure!(folder.join(target).exists(), "{}: a link to {target}", page.display());
        }
    }
    ensure!(links > 20, "only {links} links found");
    Ok(())
}

#[test]
fn the_options_that_the_pages_name_exist() -> Result<()> {
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    for page in pages()? {
        let text = std::fs::read_to_string(&page)?.replace("\\\n", " ");
        for command in text.split("--example ").skip(1) {
            let line = command.split(['\n', '`', '#', '|']).next().unwrap_or_default();
            let Some((name, arguments)) = line.split_once(" -- ") else { continue };
            let name = name.trim();
            if !root().join("examples").join(format!("{name}.rs")).exists() {
                continue;
            }
            if !help.contains_key(name) {
                let said = String::from_utf8(run(name, &["--help"])?.stdout)?;
                help.insert(name.to_owned(), said);
            }
            for word in arguments.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
                let option = word.split('=').next().unwrap_or(word);
                let known = help[name].split(|c: char| !c.is_alphanumeric() && c != '-').any(|w| w == option);
                ensure!(known, "{}: {name} has no option {option}", page.display());
            }
        }
    }
    ensure!(help.len() > 5, "only {} programs are named", help.len());
    Ok(())
}
