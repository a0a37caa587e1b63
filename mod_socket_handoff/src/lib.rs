//! mod_socket_handoff
