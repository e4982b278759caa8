//! HTTP: routes, reload, shutdown. Knows nothing of collectors or the ledger.
