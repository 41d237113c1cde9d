//! A package without source files: a command line alone.

use std::{fs, time::Duration};

use anyhow::Result;
use packhorse_e2e::{Hierarchy, NewClient};

#[test]
fn a_command_line_without_files_runs_on_a_client_without_any_distribution_point() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("PAR", "cap1")?;
    hierarchy.client(NewClient { site: "PAR", hostname: "par-1", labels: &["role=till"] })?;
    hierarchy.client(NewClient { site: "PAR", hostname: "par-2", labels: &["role=desk"] })?;
    let trace = hierarchy.scratch("trace");
    let console = hierarchy.console("CEN");

    let package = console.create(&["package", "create", "Command"])?;
    let command = format!("echo ran in $PACKHORSE_PACKAGE >> {}; echo good; exit 7", trace.display());
    console.done(&["program", "set", &package, "go", "--shell", "--success-code", "7", "--", &command])?;
    let tills = console.create(&["collection", "create", "Tills", "--where", "label.role=till"])?;
    let advertisement = console.create(&["advertise", &package, "go", &tills])?;

    let progress = hierarchy.wait_for("the command to run", Duration::from_secs(40), || {
        let progress = console.advertisement(&advertisement)?;
        anyhow::ensure!(progress.succeeded(0) == 1, "{progress:?}");
        Ok(Some(progress))
    })?;
    assert_eq!(progress.clients.len(), 1, "only the till: {progress:?}");
    let client = &progress.clients[0];
    assert_eq!((client.hostname.as_str(), client.exit_code), ("par-1", Some(7)));
    assert_eq!(client.output_tail.trim(), "good");
    assert_eq!(fs::read_to_string(&trace)?, format!("ran in {package}\n"));
    Ok(())
}

#[test]
fn a_program_that_fails_is_reported_with_its_exit_code_and_last_words() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    hierarchy.clients(&["CEN/cen-1"])?;
    let console = hierarchy.console("CEN");

    let package = console.create(&["package", "create", "Failing"])?;
    console.done(&["program", "set", &package, "go", "--shell", "--", "echo no licence here >&2; exit 3"])?;
    let everyone = console.create(&["collection", "create", "Everyone", "--all"])?;
    let advertisement = console.create(&["advertise", &package, "go", &everyone])?;

    let client = hierarchy.wait_for("the failure", Duration::from_secs(40), || {
        let progress = console.advertisement(&advertisement)?;
        Ok(progress.clients.into_iter().find(|client| client.delivery == "failed"))
    })?;
    assert_eq!(client.exit_code, Some(3));
    assert!(client.output_tail.contains("no licence here"), "{client:?}");
    Ok(())
}
