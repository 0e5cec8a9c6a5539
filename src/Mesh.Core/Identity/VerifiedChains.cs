using System.Security.Cryptography;

namespace Mesh.Core.Identity;

/// <summary>Chains that have been verified: a peer that comes again is not verified from the beginning. Thread-safe.</summary>
/// <remarks>Only what cannot change is remembered. Roots, time, revocation and who is expected are asked about each time.</remarks>
internal sealed class VerifiedChains
{
    /// <summary>How many are remembered, at most twice as many.</summary>
    public const int Capacity = 1024;

    private readonly Lock _gate = new();
    private Dictionary<string, VerifiedChain> _recent = [];
    private Dictionary<string, VerifiedChain> _earlier = [];

    /// <summary>What a chain is found by: the side that its peer was on, and its certificates as they were presented, DER, the leaf first.</summary>
    public static string KeyOf(bool isServer, IReadOnlyList<ReadOnlyMemory<byte>> certificates)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData([isServer ? (byte)1 : (byte)0]);
        foreach (var certificate in certificates)
        {
            // DER says where it ends, so that no two lists are alike.
            hash.AppendData(certificate.Span);
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    public VerifiedChain? Find(string key)
    {
        lock (_gate)
        {
            if (_recent.TryGetValue(key, out var chain))
            {
                return chain;
            }

            if (_earlier.TryGetValue(key, out chain))
            {
                Add_NeedsLock(key, chain);
            }

            return chain;
        }
    }

    public void Add(string key, VerifiedChain chain)
    {
        lock (_gate)
        {
            Add_NeedsLock(key, chain);
        }
    }

    private void Add_NeedsLock(string key, VerifiedChain chain)
    {
        if (_recent.Count >= Capacity)
        {
            // Whoever has not come since the last time this happened is forgotten.
            _earlier = _recent;
            _recent = [];
        }

        _recent[key] = chain;
    }
}
