//! The catalogue: every check with its name, its station and the tip that it is.

/// A station of the way of a package, an advertisement or a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Station {
    SiteServer,
    Provider,
    DistributionManager,
    Scheduler,
    Sender,
    Despooler,
    CourierSender,
    CollectionEvaluator,
    OfferManager,
    InboxManager,
    ClientAgent,
}

impl Station {
    pub fn as_str(self) -> &'static str {
        match self {
            Station::SiteServer => "site-server",
            Station::Provider => "provider",
            Station::DistributionManager => "distribution-manager",
            Station::Scheduler => "scheduler",
            Station::Sender => "sender",
            Station::Despooler => "despooler",
            Station::CourierSender => "courier-sender",
            Station::CollectionEvaluator => "collection-evaluator",
            Station::OfferManager => "offer-manager",
            Station::InboxManager => "inbox-manager",
            Station::ClientAgent => "client-agent",
        }
    }
}

macro_rules! checks {
    ($($variant:ident = $name:literal, $station:ident, $tip:literal;)+) => {
        /// A check with a name that stays.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($variant,)+
        }

        impl Check {
            pub const ALL: &'static [Check] = &[$(Check::$variant,)+];

            /// As it is printed and scripted for.
            pub fn name(self) -> &'static str {
                match self { $(Check::$variant => $name,)+ }
            }

            /// Whose work it is about.
            pub fn station(self) -> Station {
                match self { $(Check::$variant => Station::$station,)+ }
            }

            /// What it verifies.
            pub fn tip(self) -> &'static str {
                match self { $(Check::$variant => $tip,)+ }
            }
        }
    };
}

checks! {
    SiteKnown = "site-known", Provider, "The site has joined the hierarchy";
    SiteAnswers = "site-answers", SiteServer, "The site's server runs and answers";
    ClockAgrees = "clock-agrees", SiteServer, "The site's clock agrees with its parent's";
    CertificateValid = "certificate-valid", SiteServer, "The site's certificates are valid, and for some time yet";
    DatabaseFree = "database-free", SiteServer, "No other program holds the site database locked";
    ComponentsWell = "components-well", SiteServer, "The components of the site server get on, and reach its database and disks";
    DirectoriesThere = "directories-there", SiteServer, "The directories of the site server are there and can be written to";
    DiskRoom = "disk-room", SiteServer, "The site's disk has room for package content beyond the reserve";

    PackageKnown = "package-known", Provider, "The package is written in the site database, and not deleted";
    PackageReleased = "package-released", Provider, "The package's version is not on the kill list";
    HasSource = "has-source", Provider, "The package contains source files";
    ContentInLibrary = "content-in-library", DistributionManager, "The source was retrieved, or has arrived, and is in the content library, compressed";
    Targeted = "targeted", DistributionManager, "At least one distribution point is specified in each site that is to have it";
    PointKnown = "point-known", DistributionManager, "The distribution points that are specified are there";
    OnPoint = "on-point", DistributionManager, "The files were copied to the distribution point";
    BundleMade = "bundle-made", DistributionManager, "The bundle for the child site was made";

    ObjectSent = "object-sent", Sender, "The definition has been replicated to the child site";
    MiniJobQueued = "mini-job-queued", Scheduler, "There is a mini-job for the transfer, and nobody cancelled it";
    ItemReleased = "item-released", Scheduler, "Nobody holds the item in the queue";
    LineOpen = "line-open", Scheduler, "The calendar lets this priority onto the line at this hour";
    BudgetLeft = "budget-left", Scheduler, "The line's budget is not spent";
    ItemsTurn = "items-turn", Scheduler, "What stands before it in the queue has gone";
    LinkUp = "link-up", Sender, "Sender is connected with the site server of the other site";
    ItemTaken = "item-taken", Sender, "The other site takes what it is offered";
    ItemMoves = "item-moves", Sender, "Sender transfers it";
    Arrived = "arrived", Sender, "All of it has come";
    Despooled = "despooled", Despooler, "Despooler could read and decompress what came";

    CourierAsked = "courier-asked", CourierSender, "A parcel that contains it was created";
    ParcelKnown = "parcel-known", CourierSender, "The parcel is known here";
    ParcelSent = "parcel-sent", CourierSender, "The parcel was marked as sent";
    ParcelOnTime = "parcel-on-time", CourierSender, "The parcel is not overdue, nor lost";
    ParcelReceived = "parcel-received", CourierSender, "The destination has received and processed the parcel";
    ParcelConfirmed = "parcel-confirmed", CourierSender, "The receipt came back";

    AdvertisementKnown = "advertisement-known", Provider, "The advertisement is written in the site database, and not deleted";
    NotExpired = "not-expired", OfferManager, "The advertisement has not expired";
    HasStarted = "has-started", OfferManager, "The advertisement's time has come";
    CollectionKnown = "collection-known", CollectionEvaluator, "The target collection has arrived";
    CollectionHasMembers = "collection-has-members", CollectionEvaluator, "The target collection contains clients";
    ClientIsMember = "client-is-member", CollectionEvaluator, "The client is a member of the target collection";
    ProgramKnown = "program-known", OfferManager, "The package has the advertised program";
    ContentAvailable = "content-available", OfferManager, "The content is on at least one distribution point within the site";
    Offered = "offered", OfferManager, "Offer Manager has written the offer";
    InstructionWritten = "instruction-written", OfferManager, "Offer Manager has written the client's instruction";
    CapKnown = "cap-known", InboxManager, "The site has a client access point";
    CapConnected = "cap-connected", InboxManager, "Inbox Manager is connected with the client access points";
    CapFed = "cap-fed", InboxManager, "Inbox Manager has copied the files to the client access points";

    ClientKnown = "client-known", ClientAgent, "The client has enrolled at the site";
    ClientPolls = "client-polls", ClientAgent, "The client polls its client access point";
    ClientClock = "client-clock", ClientAgent, "The client's clock agrees with the site's";
    ClientInstructed = "client-instructed", ClientAgent, "The client has taken the present instruction";
    ClientAccepts = "client-accepts", ClientAgent, "The client accepts the advertisement";
    ClientHasContent = "client-has-content", ClientAgent, "The client could fetch the content";
    WindowOpen = "window-open", ClientAgent, "The client is in a maintenance window, with room for the program";
    ProgramRan = "program-ran", ClientAgent, "The program ran, and succeeded";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();

        assert_eq!(names.len(), Check::ALL.len());
        for check in Check::ALL {
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(check.name().chars().all(plain), "{check:?}");
            assert!(!check.tip().ends_with('.') && !check.tip().is_empty(), "{check:?}");
        }
    }
}
