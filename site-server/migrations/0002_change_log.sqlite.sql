-- What wakes the components: each change of a table raises its topic. SQLite's dialect; a PostgreSQL site has its own file.

INSERT INTO change_log (topic, version) VALUES ('object', 0);
INSERT INTO change_log (topic, version) VALUES ('neighbour', 0);
INSERT INTO change_log (topic, version) VALUES ('content', 0);
INSERT INTO change_log (topic, version) VALUES ('bundle', 0);
INSERT INTO change_log (topic, version) VALUES ('arrival', 0);
INSERT INTO change_log (topic, version) VALUES ('point', 0);
INSERT INTO change_log (topic, version) VALUES ('cap_file', 0);
INSERT INTO change_log (topic, version) VALUES ('membership', 0);

CREATE TRIGGER object_insert AFTER INSERT ON object BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'object';
END;
CREATE TRIGGER object_update AFTER UPDATE ON object BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'object';
END;
CREATE TRIGGER object_delete AFTER DELETE ON object BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'object';
END;
CREATE TRIGGER neighbour_insert AFTER INSERT ON neighbour BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'neighbour';
END;
CREATE TRIGGER neighbour_update AFTER UPDATE ON neighbour BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'neighbour';
END;
CREATE TRIGGER neighbour_delete AFTER DELETE ON neighbour BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'neighbour';
END;
CREATE TRIGGER content_insert AFTER INSERT ON content BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'content';
END;
CREATE TRIGGER content_update AFTER UPDATE ON content BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'content';
END;
CREATE TRIGGER content_delete AFTER DELETE ON content BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'content';
END;
CREATE TRIGGER bundle_insert AFTER INSERT ON bundle BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER bundle_update AFTER UPDATE ON bundle BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER bundle_delete AFTER DELETE ON bundle BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER sending_insert AFTER INSERT ON sending BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER sending_update AFTER UPDATE ON sending BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER sending_delete AFTER DELETE ON sending BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER arrival_insert AFTER INSERT ON arrival BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'arrival';
END;
CREATE TRIGGER arrival_update AFTER UPDATE ON arrival BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'arrival';
END;
CREATE TRIGGER arrival_delete AFTER DELETE ON arrival BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'arrival';
END;
CREATE TRIGGER point_insert AFTER INSERT ON point BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'point';
END;
CREATE TRIGGER point_update AFTER UPDATE ON point BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'point';
END;
CREATE TRIGGER point_delete AFTER DELETE ON point BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'point';
END;
CREATE TRIGGER cap_file_insert AFTER INSERT ON cap_file BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'cap_file';
END;
CREATE TRIGGER cap_file_update AFTER UPDATE ON cap_file BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'cap_file';
END;
CREATE TRIGGER cap_file_delete AFTER DELETE ON cap_file BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'cap_file';
END;
CREATE TRIGGER membership_insert AFTER INSERT ON membership BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'membership';
END;
CREATE TRIGGER membership_update AFTER UPDATE ON membership BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'membership';
END;
CREATE TRIGGER membership_delete AFTER DELETE ON membership BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'membership';
END;
