//! The figures of a site server: their names, labels and what they are.

use packhorse_runtime::figures;

figures! {
    pub(super) ALL:
    LINK_UP, "packhorse_link_up", Gauge, ["peer"],
        "1 if the link to this neighbour is up";
    LINK_CHANGED, "packhorse_link_changed_timestamp_seconds", Gauge, ["peer"],
        "When the link last went up or down, in seconds since the beginning of 1970; missing before it was ever up";
    LINK_SENT, "packhorse_link_sent_bytes_total", Counter, ["peer"],
        "Bytes sent on the encrypted connections of the link since the process began";
    LINK_RECEIVED, "packhorse_link_received_bytes_total", Counter, ["peer"],
        "Bytes received on the encrypted connections of the link since the process began";
    LINK_TRIP, "packhorse_link_round_trip_seconds", Gauge, ["peer"],
        "The way there and back; missing while it is not known";
    LINK_CLOCK, "packhorse_link_clock_ahead_seconds", Gauge, ["peer"],
        "How far this site's clock is ahead of this neighbour's, at least; missing while it is not known";
    LINK_RATE, "packhorse_link_rate_bytes_per_second", Gauge, ["peer"],
        "What the line was seen to carry to this neighbour; 0 while it is not known";
    LINK_IN_FLIGHT, "packhorse_link_in_flight_bytes", Gauge, ["peer"],
        "Bytes on their way to this neighbour";
    LINK_WINDOW, "packhorse_link_window_bytes", Gauge, ["peer"],
        "Bytes that may be on their way to this neighbour";
    QUEUE_ITEMS, "packhorse_queue_items", Gauge, ["peer", "priority"],
        "Objects and bundles that wait to be sent to this neighbour, without those that are held or wait for a courier";
    QUEUE_AGE, "packhorse_queue_oldest_age_seconds", Gauge, ["peer", "priority"],
        "How long the oldest of those items has waited; 0 if there is none";
    QUEUE_HELD, "packhorse_queue_held_bundles", Gauge, ["peer"],
        "Bundles that an administrator holds, or that wait for a courier";
    QUEUE_RETRYING, "packhorse_queue_retrying_bundles", Gauge, ["peer"],
        "Bundles that this neighbour refused and that are tried again";
    QUEUE_REFUSED, "packhorse_queue_refused_objects", Gauge, ["peer"],
        "Objects that this neighbour refuses";
    ARRIVALS, "packhorse_arrivals", Gauge, ["state"],
        "Bundles that come in or wait to be taken in, by state";
    PARCELS, "packhorse_parcels", Gauge, ["direction", "state"],
        "Parcels on media, once for each destination, by state";
    PARCELS_OVERDUE, "packhorse_parcels_overdue", Gauge, [],
        "Parcels that were sent and should have been taken in by now";
    LIBRARY, "packhorse_library_bytes", Gauge, [],
        "What the content library takes on the disk";
    DISK_FREE, "packhorse_disk_free_bytes", Gauge, [],
        "What is free on the disk of the content library";
    DISK_SIZE, "packhorse_disk_size_bytes", Gauge, [],
        "The size of the disk of the content library";
    DISK_RESERVE, "packhorse_disk_reserve_bytes", Gauge, [],
        "What new package content leaves free on that disk";
    DATABASE, "packhorse_database_bytes", Gauge, [],
        "What the database takes on the disk, with its write-ahead log";
    OBJECTS, "packhorse_objects", Gauge, ["kind"],
        "Replicated objects that are held here, by kind";
    PACKAGES, "packhorse_package_places", Gauge, ["state"],
        "Places of packages here and below, libraries and distribution points, by state";
    ADVERTISEMENTS, "packhorse_advertisement_clients", Gauge, ["state"],
        "Clients of advertisements here and below, by state; one that took several counts as often";
    CLIENTS, "packhorse_clients", Gauge, [],
        "Clients of this site";
    CAP_CONNECTED, "packhorse_cap_connected", Gauge, ["cap"],
        "1 if this CAP agent is connected";
    CAP_BEHIND, "packhorse_cap_files_behind", Gauge, ["cap"],
        "Instruction files that this CAP agent has not stored yet";
}
