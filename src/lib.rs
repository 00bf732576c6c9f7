//! patroni-broker: highly available PostgreSQL as a service on a handful of Docker hosts.

