namespace Mesh.Ztunnel.Dns;

/// <summary>What a client in ns1 asks, and what it is told (ztunnel §11, §15.12). What the mesh does not know, the upstream server does not either.</summary>
public static class DnsLookups
{
    private const string Nothing = "aa NOERROR";
    private const string Forwarded = "NXDOMAIN";

    public static TheoryData<string, string, string> All => new()
    {
        // Known names, in full.
        { "cart.ns1.svc.cluster.local", "A", "aa NOERROR; cart.ns1.svc.cluster.local A 10.96.0.1" },
        { "CART.ns1.SVC.cluster.Local", "A", "aa NOERROR; CART.ns1.SVC.cluster.Local A 10.96.0.1" },
        { "cart.ns2.svc.cluster.local", "A", "aa NOERROR; cart.ns2.svc.cluster.local A 10.96.0.2" },
        { "cart.ns1.svc.cluster.local", "AAAA", Nothing },
        { "mixed.example.COM", "A", "aa NOERROR; mixed.example.COM A 10.97.0.2" },
        { "several.ns1.svc.cluster.local", "A", "aa NOERROR; several.ns1.svc.cluster.local A 10.96.0.13; several.ns1.svc.cluster.local A 10.96.0.14; several.ns1.svc.cluster.local A 10.96.0.15" },

        // Kubernetes names, cut short.
        { "cart", "A", "aa NOERROR; cart A 10.96.0.1" },
        { "cart.ns1", "A", "aa NOERROR; cart.ns1 A 10.96.0.1" },
        { "cart.ns2", "A", "aa NOERROR; cart.ns2 A 10.96.0.2" },
        { "cart.ns1.svc", "A", "aa NOERROR; cart.ns1.svc A 10.96.0.1" },
        { "only2", "A", Forwarded },
        { "only2.ns2", "A", "aa NOERROR; only2.ns2 A 10.96.0.3" },

        // A search domain behind them. A name with no more of it than Kubernetes puts there is known without taking it off.
        { "cart.ns1.svc.cluster.local.ns1.svc.cluster.local", "A", "aa NOERROR; cart.ns1.svc.cluster.local.ns1.svc.cluster.local CNAME cart.ns1.svc.cluster.local; cart.ns1.svc.cluster.local A 10.96.0.1" },
        { "www.example.com.ns1.svc.cluster.local", "A", "aa NOERROR; www.example.com.ns1.svc.cluster.local CNAME www.example.com; www.example.com A 10.97.0.1" },
        { "www.example.com.svc.cluster.local", "A", "aa NOERROR; www.example.com.svc.cluster.local CNAME www.example.com; www.example.com A 10.97.0.1" },
        { "www.example.com.cluster.local", "A", "aa NOERROR; www.example.com.cluster.local CNAME www.example.com; www.example.com A 10.97.0.1" },
        { "Www.Example.com.NS1.svc.cluster.local", "A", "aa NOERROR; Www.Example.com.NS1.svc.cluster.local CNAME Www.Example.com; Www.Example.com A 10.97.0.1" },
        { "www.example.com.ns1.svc.cluster.local", "AAAA", Nothing },
        { "cart.ns2.ns1.svc.cluster.local", "A", "aa NOERROR; cart.ns2.ns1.svc.cluster.local CNAME cart.ns2; cart.ns2 A 10.96.0.2" },
        { "cart.ns2.svc.ns1.svc.cluster.local", "A", "aa NOERROR; cart.ns2.svc.ns1.svc.cluster.local CNAME cart.ns2.svc; cart.ns2.svc A 10.96.0.2" },
        { "cart.cluster.local", "A", "aa NOERROR; cart.cluster.local CNAME cart; cart A 10.96.0.1" },
        { "www.example.com.ns2.svc.cluster.local", "A", Forwarded },
        { "ns1.svc.cluster.local", "A", Forwarded },

        // Who may see it.
        { "private.ns2.svc.cluster.local", "A", Forwarded },
        { "private.ns2", "A", Forwarded },
        { "own.ns1.svc.cluster.local", "A", "aa NOERROR; own.ns1.svc.cluster.local A 10.96.0.5" },

        // Families.
        { "six.ns1.svc.cluster.local", "A", Nothing },
        { "six.ns1.svc.cluster.local", "AAAA", "aa NOERROR; six.ns1.svc.cluster.local AAAA fd00::6" },
        { "dual.ns1.svc.cluster.local", "A", "aa NOERROR; dual.ns1.svc.cluster.local A 10.96.0.7" },
        { "dual.ns1.svc.cluster.local", "AAAA", "aa NOERROR; dual.ns1.svc.cluster.local AAAA fd00::7" },
        { "dual4.ns1.svc.cluster.local", "A", "aa NOERROR; dual4.ns1.svc.cluster.local A 10.96.0.8" },
        { "dual4.ns1.svc.cluster.local", "AAAA", Nothing },
        { "dual6.ns1.svc.cluster.local", "A", Nothing },
        { "dual6.ns1.svc.cluster.local", "AAAA", "aa NOERROR; dual6.ns1.svc.cluster.local AAAA fd00::9" },

        // Networks.
        { "remote.ns1.svc.cluster.local", "A", Nothing },
        { "both.ns1.svc.cluster.local", "A", "aa NOERROR; both.ns1.svc.cluster.local A 10.96.0.11" },

        // Wildcards.
        { "a.wild.example", "A", "aa NOERROR; a.wild.example A 10.97.0.3" },
        { "a.b.wild.example", "A", "aa NOERROR; a.b.wild.example A 10.97.0.3" },
        { "a.deep.wild.example", "A", "aa NOERROR; a.deep.wild.example A 10.97.0.4" },
        { "exact.wild.example", "A", "aa NOERROR; exact.wild.example A 10.97.0.5" },
        { "wild.example", "A", Forwarded },
        { "a.wild.example.ns1.svc.cluster.local", "A", "aa NOERROR; a.wild.example.ns1.svc.cluster.local A 10.97.0.3" },
        { "*.wild.example", "A", "aa NOERROR; *.wild.example A 10.97.0.3" },

        // Headless.
        { "headless.ns1.svc.cluster.local", "A", "aa NOERROR; headless.ns1.svc.cluster.local A 10.0.1.1; headless.ns1.svc.cluster.local A 10.0.1.2; headless.ns1.svc.cluster.local A 10.0.1.3" },
        { "headless.ns1.svc.cluster.local", "AAAA", "aa NOERROR; headless.ns1.svc.cluster.local AAAA fd00:1::1" },
        { "nobody.ns1.svc.cluster.local", "A", Nothing },
        { "allowall.ns1.svc.cluster.local", "A", "aa NOERROR; allowall.ns1.svc.cluster.local A 10.0.2.1" },
        { "headless.example", "A", Forwarded },
        { "pod.headless.ns1.svc.cluster.local", "A", Forwarded },

        // Several services of one name.
        { "mine.example", "A", "aa NOERROR; mine.example A 10.98.0.2" },
        { "canonical.example", "A", "aa NOERROR; canonical.example A 10.98.0.4" },
        { "preferred.example", "A", "aa NOERROR; preferred.example A 10.98.0.6" },
        { "first.example", "A", "aa NOERROR; first.example A 10.98.0.7" },
        { "seen.example", "A", "aa NOERROR; seen.example A 10.98.0.10" },
        { "usable.example", "A", "aa NOERROR; usable.example A 10.98.0.11" },

        // What is not ours.
        { "cart.ns1.svc.cluster.local", "TXT", Forwarded },
        { "cart.ns1.svc.cluster.local", "SRV", Forwarded },
        { "cart.ns1.svc.cluster.local", "ANY", Forwarded },
        { "elsewhere.example", "A", Forwarded },
        { "elsewhere.example", "AAAA", Forwarded },
        { ".", "A", Forwarded },
    };

    internal static DnsRecordType TypeOf(string mnemonic) => Enum.Parse<DnsRecordType>(mnemonic, ignoreCase: true);
}
