"""Turns what the broker says about a node into a running Patroni.

The map, in the order in which a container's start goes through it:

    __main__       the way through: root's part, waiting for the address, then Patroni in this process's place
    settings       what the broker hands over: environment and secrets file, parsed and checked
    privileges     root's part, and giving root up
    stores         reading one key from the store, for each engine
    store_tls      certificates for talking to the store, checked and written to files
    address        waiting for the node's public address, and keeping it on the volume
    certificate    the node's own TLS certificate
    configuration  Patroni's configuration, as data (pure)
    files          writing files so that others never see half of one
    post_bootstrap started by Patroni in a new cluster: the roles that the broker and applications use
    run_patroni    runs Patroni where its client of the store needs what it has no setting for:
    consul_client      Consul: sessions of the instance's own, and several agents
    etcd3_leader       etcd v3 and Patroni 3.0: a leader that was away leaves its successor alone
    scram          password verifiers, so that PostgreSQL and its log never see a password

Only Python's standard library is used.
"""
