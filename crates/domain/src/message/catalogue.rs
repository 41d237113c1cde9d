//! What the components of a site tell.

super::messages! { CATALOGUE:
    610 messages_left_out(component; )
        Warning Milestone "status-manager"
        "{component} said so much that some of its messages were left out; `count` says how many"
        "Look at the messages of the component before this one: something goes wrong again and again. Counts of states are not affected."

    620 program_failed(program; why)
        Warning Milestone "status-manager"
        "program {program}, which a rule runs for messages, failed: {why}"
        "Correct the program in the folder `event-programs` of the site's directory, or the rule (`packhorse events rule list`)."

    2305 content_adopted(manifest; )
        Info Milestone "distribution-manager"
        "version {manifest} was in the content library already; nothing has to come"
        ""
    2321 version_lost(why; )
        Error Milestone "distribution-manager"
        "{why}; the version is fetched again"
        "Nothing, if it comes. Check the disk of the content library: it loses what was written."
    2322 version_mended(manifest; what, from)
        Warning Milestone "content-check"
        "{what} of version {manifest} had rotted in the content library and came again{from}; it is whole"
        "Check the disk of the content library: it loses what was written."
    2328 point_failed(point; why)
        Warning Milestone "distribution-manager"
        "distribution point {point} failed: {why}"
        "Make the directory writable and give it room; it is tried again by itself."
    2330 point_holds(point, version; )
        Info Milestone "distribution-manager"
        "version {version} is on distribution point {point}"
        ""
    2331 point_is_unaltered(point; version, files)
        Info Milestone "distribution-manager"
        "all {files} files of version {version} on distribution point {point} were compared: nothing had been altered"
        ""
    2332 point_was_altered(point; version, files)
        Warning Milestone "distribution-manager"
        "version {version} on distribution point {point} had been altered by hand and is right again: {files}"
        "Find out who writes into the directory; only Distribution Manager should."
    2340 agent_holds(point, version; )
        Info Milestone "inbox-manager"
        "version {version} is on distribution point {point}"
        ""
    2341 agent_failed(point; why)
        Warning Milestone "inbox-manager"
        "distribution point {point}: {why}"
        "As the reason says; the agent tries again by itself."
    2350 library_is_sound(; how, read)
        Info Milestone "content-verifier"
        "{how} ({read}): nothing is rotten"
        ""
    2351 library_was_mended(; how, read, found)
        Warning Milestone "content-verifier"
        "{how} ({read}): {found} rotten chunks and manifests, all mended; check the disk"
        "Check the disk of the content library."
    2352 library_lost_versions(; how, read, found, left)
        Error Milestone "content-verifier"
        "{how} ({read}): {found} rotten chunks and manifests; {left} versions could not be mended and come whole again; check the disk"
        "Check the disk of the content library. The versions come again by themselves."
    2353 library_rots(; found)
        Error Milestone "content-verifier"
        "the content library has rotten chunks, {found} so far: they are served no more and are fetched again; check the disk"
        "Check the disk of the content library. What is rotten comes again by itself."
    2360 prestaged(path; chunks, versions, faults)
        Info Milestone "prestager"
        "{path} was taken into the content library: {chunks}; {versions}{faults}"
        ""
    2361 prestaging_ended_early(path; chunks, versions, faults, why)
        Warning Milestone "prestager"
        "{path} was taken into the content library: {chunks}; {versions}{faults}; it ended early: {why}"
        "Remove what stands in the way and ask for it again: it goes on there."

    4400 package_received(manifest; )
        Info Milestone "despooler"
        "version {manifest} was received and is in the content library"
        ""
    4401 bundle_unusable(; why)
        Error Milestone "despooler"
        "the bundle could not be used and is fetched again: {why}"
        "Nothing, if it works the next time; otherwise as the reason says."

    8210 bundle_delivered(version, peer; )
        Info Milestone "sender"
        "version {version} was delivered to site {peer}"
        ""
    8211 bundle_refused(peer, reason; why)
        Warning Milestone "sender"
        "site {peer} refused its bundle ({reason}): {why}"
        "As the reason says; it is tried again by itself, less and less often."
    8212 bundle_damaged_there(peer; why)
        Warning Milestone "sender"
        "site {peer} got a damaged bundle: {why}"
        "Nothing, if it is seldom. A line that damages often, or a disk, is at fault otherwise."
    8213 bundle_damaged_here(; why)
        Warning Milestone "sender"
        "the bundle in the spool is damaged and is made anew: {why}"
        "Check the disk of the spool."
    8220 object_refused_there(peer, reason; why, again)
        Warning Milestone "sender"
        "site {peer} refused it ({reason}): {why}; it is offered again {again}"
        "As the reason says. A site that does not know a kind of object takes it once it is upgraded."
    8230 copies_repaired(peer, what; objects)
        Info Detail "sender"
        "{what} differed from what site {peer} holds and is repaired; objects: {objects}"
        ""
    8231 copies_taken_back(peer, what; objects)
        Warning Milestone "sender"
        "site {peer} holds newer copies than this site of {what}; objects: {objects}. Was the database restored from a backup? They are taken back"
        "Nothing, if a backup was restored. Otherwise find out who changed the database."
    8240 link_closed(peer, kind; why)
        Warning Milestone "sender"
        "the link with site {peer} was closed: {why}"
        "Bring both sites to the same version; if it stays, send the logs of both."
    8250 offer_refused(peer, why; )
        Warning Milestone "receiver"
        "an offer from site {peer} was refused: {why}"
        "Find out what runs at the site: it offers what it may not."
    8251 kind_unknown(peer; item)
        Warning Milestone "receiver"
        "site {peer} offers items of a kind that this version does not know, {item} for one"
        "Upgrade this site; they are offered again."
    8252 object_refused(peer, kind; why)
        Warning Milestone "receiver"
        "an object from site {peer} was refused: {why}"
        "As the reason says: the site is of another version, was restored from a backup, or says what it may not."
    8253 bundle_waits_for_room(; why)
        Warning Milestone "receiver"
        "a bundle waits: {why}; it comes by itself when there is room"
        "Make room on the disk, or lower `content.reserve`."
    8254 copies_forked(; )
        Warning Milestone "receiver"
        "another content of the same version was made here before the database was restored; what is here now stays, as a higher version"
        "Nothing, if a backup was restored."

    8300 bundle_waits_for_courier(peer; why)
        Info Milestone "scheduler"
        "the bundle for {peer} waits for a courier: {why}; `packhorse courier create --to {peer}` writes it"
        "Write a parcel with `packhorse courier create`."
    8301 bundle_goes_over_the_line(peer; why)
        Info Milestone "scheduler"
        "the bundle for {peer} goes over the line: {why}"
        ""
    8401 parcel_laid_out(parcel; sites, volumes)
        Info Milestone "courier-sender"
        "parcel {parcel} was laid out for {sites}: {volumes} volume(s)"
        "Write its volumes with `packhorse courier write`."
    8402 parcel_moved_on(parcel, peer, state; )
        Info Milestone "courier-sender"
        "parcel {parcel} for site {peer} is {state}"
        ""
    8403 parcel_lost(parcel, peer; )
        Warning Milestone "courier-sender"
        "parcel {parcel} for site {peer} is lost"
        "Nothing: what was in it is planned again."
    8404 parcel_overdue(parcel; sites, carrier)
        Warning Milestone "courier-sender"
        "parcel {parcel} is overdue at {sites}: ask {carrier}; `packhorse courier lost {parcel}` gives it up, and all of it is planned again"
        "Ask the carrier, then give it up or wait."
    8405 parcel_taken(parcel, sender; taken, left)
        Info Milestone "courier-sender"
        "of parcel {parcel} from site {sender} {taken} items were taken, {left} are left"
        ""
    8406 parcel_taken_in_part(parcel, sender; taken, left)
        Warning Milestone "courier-sender"
        "of parcel {parcel} from site {sender} {taken} items were taken, {left} are left"
        "Insert the other volumes and run `packhorse courier receive` again."
}
