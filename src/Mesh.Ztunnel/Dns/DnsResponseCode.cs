namespace Mesh.Ztunnel.Dns;

/// <summary>How a question was answered (RFC 1035 section 4.1.1, RFC 6891 section 6.1.3). Numbers above 15 travel in part in the OPT record.</summary>
internal enum DnsResponseCode : ushort
{
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
}
