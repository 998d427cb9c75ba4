//! The committed figures, and what becomes of new ones beside them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// How much more than the baseline a figure may be.
const MOST: f64 = 1.05;

/// What has been counted, by names like `core.data.160`.
pub(crate) type Figures = BTreeMap<String, f64>;

/// What the figures depend on besides the code: another compiler is a reason to renew them.
fn machine() -> String {
    let compiler = std::process::Command::new("rustc").arg("--version").output().unwrap();
    let compiler = String::from_utf8_lossy(&compiler.stdout);
    format!("{} {}", std::env::consts::ARCH, compiler.trim())
}

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.toml"))
}

/// The committed machine and figures.
fn read() -> (String, Figures) {
    let text = std::fs::read_to_string(file()).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let figures = table["figures"].as_table().unwrap();
    let figures = figures.iter().map(|(name, figure)| (name.clone(), figure.as_integer().unwrap() as f64));
    (table["machine"].as_str().unwrap().to_owned(), figures.collect())
}

/// Makes the figures the new baseline. What has not been counted this time stays.
pub(crate) fn renew(new: &Figures) {
    let mut figures = if file().exists() { read().1 } else { Figures::new() };
    figures.extend(new.clone());
    let mut text = format!(
        "# Instructions for each packet or request. Written by `cargo bench --bench instructions -- --renew`.\n\
         machine = \"{}\"\n\n[figures]\n",
        machine()
    );
    for (name, figure) in &figures {
        text += &format!("\"{name}\" = {figure:.0}\n");
    }
    std::fs::write(file(), text).unwrap();
}

/// Prints what has become more or less, and says whether nothing is more than [`MOST`] times what it was.
pub(crate) fn compare(new: &Figures) -> bool {
    let (machine_then, old) = read();
    let now = machine();
    if machine_then.split(' ').next() != now.split(' ').next() {
        println!("The baseline is of another architecture: {machine_then}. Nothing is compared with it.");
        return true;
    }
    let mut good = true;
    for (name, figure) in new {
        let Some(before) = old.get(name) else {
            eprintln!("{name}: {figure:.0} instructions, and the baseline has none; renew it");
            good = false;
            continue;
        };
        let ratio = figure / before;
        if ratio > MOST {
            eprintln!("{name}: {figure:.0} instructions, {ratio:.2} times the {before:.0} of the baseline");
            good = false;
        } else if ratio < 2.0 - MOST {
            println!(
                "{name}: {figure:.0} instructions, {ratio:.2} times the {before:.0} of the baseline: worth renewing it"
            );
        }
    }
    if !good {
        eprintln!(
            "If this is meant, `cargo bench --bench instructions -- --renew` makes the new figures the baseline.\n\
             The baseline was counted with {machine_then}, this with {now}."
        );
    }
    good
}
