//! Real directories, and what must be refused about them.

use std::os::unix::fs::symlink;

use super::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\n";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn load_directory(directory: &tempfile::TempDir) -> Result<(RuleSet, Vec<Warning>), Vec<String>> {
    load(&[directory.path().to_owned()], &LoadOptions::default()).map_err(|faults| {
        let root = format!("{}/", directory.path().display());
        faults.iter().map(|fault| fault.to_string().replace(&root, "")).collect()
    })
}

#[test]
fn directories_are_read_to_the_bottom_and_other_files_are_not() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";
    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}"#;
    let directory = directory(&[
        ("a.yaml", POD),
        ("deep/er/b.yml", node),
        ("deep/c.json", json),
        (".git/d.yaml", "never read"),
        (".e.yaml", "never read"),
        ("README.md", "never read"),
    ]);
    symlink(directory.path(), directory.path().join("loop")).unwrap();
    let (rules, warnings) = load_directory(&directory).unwrap();
    let objects: Vec<String> = rules.into_objects().map(|it| it.key().to_string()).collect();
    assert_eq!(objects, ["Namespace shop", "Pod shop/web", "Node n1"]);
    assert_eq!(warnings, []);
}

#[test]
fn faults_of_all_files_come_together_with_their_lines() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n\
                  spec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/16\n        \
                  except:\n        - 10.1.0.0/24\n";
    let directory = directory(&[
        ("a.yaml", POD),
        ("b.yaml", &format!("# again\n{POD}")),
        ("c.yaml", policy),
        ("d.yaml", "kind: [\n"),
    ]);
    let faults = load_directory(&directory).unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(faults[0].starts_with("b.yaml:4: Pod shop/web: metadata.name: stands at "));
    assert!(
        faults[0].ends_with("a.yaml:1 already; want each object once")
            || faults[0].contains("a.yaml:1")
    );
    assert_eq!(
        faults[1],
        "c.yaml:11: NetworkPolicy default/p: spec.ingress[0].from[0].ipBlock.except[0]: \
         10.1.0.0/24 is not a true part of cidr 10.0.0.0/16; want a smaller block inside it"
    );
    assert!(faults[2].starts_with("d.yaml:"), "{}", faults[2]);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let directory = directory(&[("big.yaml", POD), ("text.yaml", "a: b")]);
    fs::write(directory.path().join("text.yaml"), b"a: \xff").unwrap();
    symlink("nowhere", directory.path().join("dangling.yaml")).unwrap();
    let options = LoadOptions { file_len_max: 10, ..LoadOptions::default() };
    let paths = [directory.path().to_owned(), directory.path().join("missing")];
    let faults = load(&paths, &options).unwrap_err();
    let problems: Vec<&str> = faults.iter().map(|fault| fault.problem.as_str()).collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    for (problem, beginning) in problems.iter().zip([
        "larger than 10 bytes",
        "cannot be read: No such file",
        "cannot be read: No such file",
        "byte 3 is no UTF-8",
    ]) {
        assert!(problem.starts_with(beginning), "{problem}");
    }
}

#[test]
fn numbers_are_bounded() {
    let directory = directory(&[("a.yaml", POD), ("b.yaml", "")]);
    let paths = [directory.path().to_owned()];
    let few = LoadOptions { files_max: 1, ..LoadOptions::default() };
    assert!(load(&paths, &few).unwrap_err()[0].problem.contains("more than 1 files"));
    let small = LoadOptions { total_len_max: 20, ..LoadOptions::default() };
    assert!(load(&paths, &small).unwrap_err()[0].problem.contains("exceed 20 bytes"));
}

#[test]
fn an_empty_directory_is_warned_of() {
    let directory = directory(&[("notes.txt", "")]);
    let (rules, warnings) = load_directory(&directory).unwrap();
    assert!(rules.is_empty());
    assert!(warnings[0].to_string().ends_with("holds no .yaml, .yml or .json file"));
}

#[test]
fn a_special_file_is_refused_and_not_waited_for() {
    let faults = load(&[PathBuf::from("/dev/zero")], &LoadOptions::default()).unwrap_err();
    assert!(faults[0].problem.starts_with("not a regular file"));
}
