//! The programs of a package: each change is a new release, signed by the author.

use packhorse_domain::{id::ProgramName, message, package::Program};
use packhorse_proto::{object::v1 as wire, provider::v1::Package};
use packhorse_trust::Name;

use super::{
    advertisements::{self, no_program},
    change::Change,
    check_unused, invalid,
    packages::{find, own, release, view},
    parsed,
};
use crate::{error::Error, site::Site};

/// Adds the program, or puts it in the place of the one with its name.
pub(super) async fn set(
    site: &Site,
    who: &Name,
    package: &str,
    program: wire::Program,
) -> Result<Package, Error> {
    let program = Program::try_from(program)?;
    let mut change = Change::begin(site, who).await?;
    let mut package = own(site, &mut change.tx, package).await?;
    let held = package.version.programs.iter_mut().find(|held| held.name == program.name);
    let id = package.definition.id.to_string();
    let message = message::program_set(&program.name, &id);
    match held {
        // Nothing is signed anew, and no client has to look at it again.
        Some(held) if *held == program => return view(&mut change.tx, &package).await,
        Some(held) => *held = program,
        None => package.version.programs.push(program),
    }
    package.version.check().map_err(|error| invalid("program", error))?;
    release(&mut change, &mut package).await?;
    let package = find(&mut change.tx, &id).await?;
    let package = view(&mut change.tx, &package).await?;
    change.finish(&id, message).await?;
    Ok(package)
}

pub(super) async fn remove(site: &Site, who: &Name, package: &str, program: &str) -> Result<Package, Error> {
    let program: ProgramName = parsed("program", program)?;
    let mut change = Change::begin(site, who).await?;
    let mut package = own(site, &mut change.tx, package).await?;
    let id = package.definition.id.clone();
    if package.version.program(&program).is_none() {
        return Err(no_program(&package.version.programs, &id, program.as_str()));
    }
    let naming =
        advertisements::naming(&mut change.tx, |one| one.package == id && one.program == program).await?;
    check_unused("program", program.as_str(), &naming)?;
    package.version.programs.retain(|held| held.name != program);
    release(&mut change, &mut package).await?;
    let package = find(&mut change.tx, id.as_str()).await?;
    let package = view(&mut change.tx, &package).await?;
    change.finish(id.as_str(), message::program_removed(&program, &id)).await?;
    Ok(package)
}
