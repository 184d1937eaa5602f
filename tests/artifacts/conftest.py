"""Object storage for the tests of this room."""

from tests.object_storage import location as location
from tests.object_storage import s3_environment as s3_environment
from tests.object_storage import s3_server as s3_server
