"""Makes the stand-ins importable, as a user's own package would be."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
