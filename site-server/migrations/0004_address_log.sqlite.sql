-- Whoever changes an address wakes the links. What goes over a line changes all the time and wakes nobody.

INSERT INTO change_log (topic, version) VALUES ('address', 0);

CREATE TRIGGER address_insert AFTER INSERT ON address BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'address';
END;
CREATE TRIGGER address_update AFTER UPDATE ON address BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'address';
END;
CREATE TRIGGER address_delete AFTER DELETE ON address BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'address';
END;
