-- An order of the queue wakes whoever sends. SQLite's dialect.
CREATE TRIGGER queue_order_insert AFTER INSERT ON queue_order BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER queue_order_update AFTER UPDATE ON queue_order BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
CREATE TRIGGER queue_order_delete AFTER DELETE ON queue_order BEGIN
    UPDATE change_log SET version = version + 1 WHERE topic = 'bundle';
END;
