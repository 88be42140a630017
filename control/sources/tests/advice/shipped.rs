//! The files that come with Sluice: what is said of them is right, and most often nothing.

use std::path::{Path, PathBuf};

use sluice_policy::advice::advise;
use sluice_sources::files::{LoadOptions, load};

fn advice(files: &[&str]) -> Vec<String> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let files: Vec<PathBuf> = files.iter().map(|file| configs.join(file)).collect();
    let (rules, _) = load(&files, &LoadOptions::default()).unwrap();
    advise(&rules).iter().map(super::line).collect()
}

#[test]
fn nothing_is_said_of_policies_without_a_cluster() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/policies");
    for file in std::fs::read_dir(directory).unwrap() {
        let file = Path::new("policies").join(file.unwrap().file_name());
        assert_eq!(advice(&[file.to_str().unwrap()]), [] as [&str; 0], "{file:?}");
    }
}

#[test]
fn nothing_is_said_of_the_demo() {
    for file in ["policies/story.yaml", "demo/tightened.yaml"] {
        assert_eq!(advice(&["demo/cluster.yaml", file]), [] as [&str; 0], "{file}");
    }
}
