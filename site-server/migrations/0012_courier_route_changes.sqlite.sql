-- Couriers, and what is chosen for bundles, wake whoever chooses and sends. SQLite's dialect.
INSERT INTO change_log (topic, version) VALUES ('courier_route', 0);
CREATE TRIGGER courier_route_insert AFTER INSERT ON courier_route BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'courier_route';
END;
CREATE TRIGGER courier_route_update AFTER UPDATE ON courier_route BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'courier_route';
END;
CREATE TRIGGER courier_route_delete AFTER DELETE ON courier_route BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'courier_route';
END;
CREATE TRIGGER courier_choice_insert AFTER INSERT ON courier_choice BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER courier_choice_update AFTER UPDATE ON courier_choice BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER courier_choice_delete AFTER DELETE ON courier_choice BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
