"""What an author of a Guard needs; `Guard` says what is called how.

It is named in the group `rolehost.guards`. Conformance: `rolehost_runtime.conformance.guards`.
"""

from rolehost_runtime.core.safety.guards import Guard as Guard
from rolehost_runtime.core.safety.guards import Objection as Objection
from rolehost_runtime.core.safety.guards import Stage as Stage
