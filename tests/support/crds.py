"""Our CRDs on the session's apiserver."""

import pytest
from tests.support.apiserver import ApiServer

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.render import crds
from rolehost_api.names import GROUP


@pytest.fixture(scope="session")
def role_api(apiserver: ApiServer) -> ApiServer:
    """The apiserver with Role, RoleRevision and ModelBackend served."""
    apiserver.apply(*crds())
    names = [f"crd/{kind.plural}.{GROUP}" for kind in KINDS]
    apiserver.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return apiserver
