//! Looking after the content library: what stays free on its disk ([`room`]), finding what has rotted ([`verify`]) and
//! bringing back just that ([`mend`]), and filling it before a line has carried anything ([`prestage`]).

pub(crate) mod room;
