# The integration tests of groups of processes, which need a whole hierarchy.
integration cgroups::
