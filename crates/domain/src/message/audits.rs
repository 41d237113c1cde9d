//! What people did: who changed what.

super::messages! { AUDITS:
    30000 package_created(; package, name, files, bytes)
        Info Audit "provider" "{who} created package {package} ({name}) with {files} files and {bytes} bytes" ""
    30001 package_updated(; package, done)
        Info Audit "provider" "{who} {done}" ""
    30002 package_deleted(; package, name)
        Info Audit "provider" "{who} deleted package {package} ({name})" ""
    30003 package_sender_chosen(; package, sender)
        Info Audit "provider" "{who} package {package} prefers {sender}" ""
    30004 program_set(; program, package)
        Info Audit "provider" "{who} set program {program} of package {package}" ""
    30005 program_removed(; program, package)
        Info Audit "provider" "{who} removed program {program} of package {package}" ""
    30006 package_sent(; package, points)
        Info Audit "provider" "{who} sends package {package} to {points}" ""
    30007 package_taken_away(; package, points)
        Info Audit "provider" "{who} takes package {package} from {points}" ""
    30008 package_killed(; package, release, reason)
        Info Audit "provider" "{who} killed package {package} up to release {release}: {reason}" ""
    30009 package_revived(; package)
        Info Audit "provider" "{who} revived package {package}" ""

    30100 collection_created(; collection, name)
        Info Audit "provider" "{who} created collection {collection} ({name})" ""
    30101 collection_changed(; collection, name)
        Info Audit "provider" "{who} changed collection {collection} ({name})" ""
    30102 collection_deleted(; collection, name)
        Info Audit "provider" "{who} deleted collection {collection} ({name})" ""

    30200 advertised(; program, package, collection, advertisement, name)
        Info Audit "provider"
        "{who} advertised {program} of package {package} to collection {collection} as {advertisement} ({name})" ""
    30201 advertisement_deleted(; advertisement, name)
        Info Audit "provider" "{who} deleted advertisement {advertisement} ({name})" ""

    30300 address_set(; address, how)
        Info Audit "provider" "{who} set address {address}: {how}" ""
    30301 address_removed(; address)
        Info Audit "provider" "{who} removed address {address}" ""
    30302 queue_changed(; done, item, peer)
        Info Audit "provider" "{who} {done} {item} to {peer}" ""

    30400 courier_set(; peer, departures, zone, transit, policy)
        Info Audit "provider"
        "{who} set the courier to {peer}: leaves {departures} ({zone}), {transit} s under way, takes what is {policy}" ""
    30401 courier_removed(; peer)
        Info Audit "provider" "{who} removed the courier to {peer}" ""
    30402 way_chosen(; peer, way)
        Info Audit "provider" "{who} gave the bundle for {peer} to {way}" ""
    30403 courier_key_trusted(; )
        Info Audit "provider" "{who} gave the key that parcels for it are encrypted to" ""
    30404 parcel_created(; parcel)
        Info Audit "provider" "{who} laid out parcel {parcel}" ""

    30500 point_added(; point, location)
        Info Audit "provider" "{who} added distribution point {point} at {location}" ""
    30501 point_removed(; point)
        Info Audit "provider" "{who} removed distribution point {point}" ""
    30502 point_check_asked(; point)
        Info Audit "provider" "{who} asked for a check of distribution point {point}" ""

    30600 library_check_asked(; )
        Info Audit "provider" "{who} had the content library checked" ""
    30601 library_check_stopped(; )
        Info Audit "provider" "{who} stopped the check of the content library" ""
    30602 prestaging_asked(; path)
        Info Audit "provider" "{who} had {path} taken into the content library" ""
    30603 prestaging_stopped(; )
        Info Audit "provider" "{who} stopped what was being taken in from a disk" ""

    30650 event_rule_added(; name, place)
        Info Audit "provider" "{who} added the rule for messages {name} at place {place}" ""
    30651 event_rule_removed(; name, place)
        Info Audit "provider" "{who} removed the rule for messages {name} from place {place}" ""
    30652 event_rule_moved(; name, place, to)
        Info Audit "provider" "{who} moved the rule for messages {name} from place {place} to place {to}" ""
    30660 log_levels_set(; levels, seconds)
        Info Audit "provider" "{who} set what is logged for {seconds} s: {levels}" ""
    30661 support_bundle_collected(; )
        Info Audit "provider" "{who} collected a support bundle" ""

    30700 token_made(; bearer)
        Info Audit "provider" "{who} made a token for {bearer}" ""
    30701 enrolled(; bearer, host, key)
        Info Audit "provider" "{bearer} enrolled from {host} with key {key}" ""
    30702 enrolled_again(; bearer, host, key)
        Info Audit "provider" "{bearer} enrolled again from {host} with key {key}" ""
}
