"""What all tests share."""

import os

# Before torch is imported: threads that spin while they wait make tests slow on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
