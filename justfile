# Shorthands; each only calls plain cargo.

# What must hold before a commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# Mend what can be mended by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# The whole guide on this machine.
dev:
    cargo run --release -- dev

# Ratios beside a bare HTTP server, Redis and etcd.
bench:
    cargo bench -p synap-tests

# Everything that CI does.
ci:
    bash .ci/run
