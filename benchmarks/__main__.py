"""``python -m benchmarks``: everything in one run."""

from benchmarks.run import main

raise SystemExit(main())
