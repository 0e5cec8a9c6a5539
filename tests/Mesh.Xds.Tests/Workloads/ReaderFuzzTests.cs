using System.Net;
using FsCheck;
using FsCheck.Fluent;
using Google.Protobuf;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Testing;
using Wire = Mesh.Xds.Protos;
using WireSecurity = Mesh.Xds.Protos.Security;

namespace Mesh.Xds.Workloads;

/// <summary>Messages that were damaged on their way, or made to do damage.</summary>
public sealed class ReaderFuzzTests
{
    private static readonly L4Connection[] Connections =
    [
        .. from identity in new[] { null, "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/bank/sa/teller" }
           from source in new[] { "10.0.0.1", "192.0.2.1" }
           from port in new[] { 8080, 9090 }
           select new L4Connection(IPAddress.Parse(source), identity is null ? null : SpiffeId.Parse(identity), new IPEndPoint(IPAddress.Parse("10.0.0.2"), port)),
    ];

    [Fact]
    public void A_damaged_address_is_read_or_refused_as_one()
    {
        var reader = new AddressReader();
        byte[][] valid = [new Wire.Address { Workload = Wires.WholeWorkload() }.ToByteArray(), new Wire.Address { Service = Wires.WholeService() }.ToByteArray()];
        var random = new Random(Fuzz.Seed(61_001));
        var (read, refused) = (0, 0);
        for (var round = 0; round < Fuzz.Rounds(30_000); round++)
        {
            try
            {
                var address = reader.Read(Damage(valid[random.Next(valid.Length)], random));
                Assert.True(address.Workload is null != address.Service is null);
                _ = address.Workload?.Identity;
                read++;
            }
            catch (Exception e) when (e is InvalidProtocolBufferException or ResourceException)
            {
                Assert.NotEmpty(e.Message);
                refused++;
            }
        }

        Assert.True(read > 100 && refused > 100, $"{read} read, {refused} refused");
    }

    [Fact]
    public void A_damaged_policy_is_always_read_in_some_way_that_can_be_judged()
    {
        var policy = Wires.Policy(WireSecurity.Action.Allow, Wires.WholeMatch(), new WireSecurity.Match { DestinationPorts = { 8080 } });
        var valid = policy.ToByteArray();
        var random = new Random(Fuzz.Seed(61_002));
        for (var round = 0; round < Fuzz.Rounds(20_000); round++)
        {
            var read = AuthorizationReader.Read("shop/p", Damage(valid, random));
            Assert.True(read.IsReadable || read.Fault is not null);
            if (round % 16 == 0)
            {
                Assert.All(Connections, connection => L4Authorizer.Authorize(L4PolicySet.Create(read.Policy), "shop", ["shop/p"], connection));
            }
        }
    }

    /// <summary>Something that cannot be read may be added anywhere: it takes permissions away and never gives one.</summary>
    [Fact]
    public void What_is_added_to_a_policy_and_not_understood_never_opens_anything()
    {
        var matches = Gen.Elements<Action<WireSecurity.Match>>(
            match => match.Namespaces.Add(Wires.Exact("shop")),
            match => match.NotNamespaces.Add(Wires.Exact("bank")),
            match => match.SourceIps.Add(Wires.Range("10.0.0.0", 8)),
            match => match.NotSourceIps.Add(Wires.Range("192.0.2.0", 24)),
            match => match.DestinationPorts.Add(8080),
            match => match.NotDestinationPorts.Add(9090),
            match => match.Principals.Add(Wires.Exact("cluster.local/ns/shop/sa/web")));
        var policies =
            from action in Gen.Elements(WireSecurity.Action.Allow, WireSecurity.Action.Deny)
            from shape in matches.ListOf().Resize(3).ListOf().Resize(3)
            from rules in Gen.Choose(1, 2)
            from place in Gen.Choose(0, 2)
            select (Policy: Policy(action, shape, rules), Place: place);
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(Fuzz.Rounds(500)).WithReplay(new Replay(new Rnd(61_003, 4711), 10)), Prop.ForAll(policies.ToArbitrary(), one =>
        {
            var before = L4PolicySet.Create(AuthorizationReader.Read("shop/p", one.Policy.ToByteArray()).Policy);
            IMessage place = one.Place switch
            {
                0 => one.Policy.Rules[0],
                1 => one.Policy.Rules[0].Clauses.FirstOrDefault() ?? (IMessage)one.Policy.Rules[0],
                _ => one.Policy.Rules[0].Clauses.FirstOrDefault()?.Matches.FirstOrDefault() ?? (IMessage)one.Policy.Rules[0],
            };
            place.MergeFrom([0xA2, 0x1F, 0x01, 0x78]);
            var read = AuthorizationReader.Read("shop/p", one.Policy.ToByteArray());
            Assert.NotNull(read.Fault);
            var after = L4PolicySet.Create(read.Policy);
            foreach (var connection in Connections.Where(connection => L4Authorizer.Authorize(before, "shop", [], connection) is L4Decision.Denied))
            {
                Assert.IsType<L4Decision.Denied>(L4Authorizer.Authorize(after, "shop", [], connection));
            }
        }));
    }

    private static WireSecurity.Authorization Policy(WireSecurity.Action action, IEnumerable<IEnumerable<Action<WireSecurity.Match>>> shape, int rules)
    {
        var policy = Wires.Policy(action, [.. shape.Select(changes =>
        {
            var match = new WireSecurity.Match();
            foreach (var change in changes)
            {
                change(match);
            }

            return match;
        })]);
        while (policy.Rules.Count < rules)
        {
            policy.Rules.Add(new WireSecurity.Rule { Clauses = { new WireSecurity.Clause { Matches = { new WireSecurity.Match { DestinationPorts = { 9090 } } } } } });
        }

        return policy;
    }

    private static byte[] Damage(byte[] valid, Random random)
    {
        var octets = new List<byte>(valid);
        for (var changes = random.Next(1, 5); changes > 0 && octets.Count > 0; changes--)
        {
            var at = random.Next(octets.Count);
            switch (random.Next(5))
            {
                case 0:
                    octets[at] = (byte)random.Next(256);
                    break;
                case 1:
                    octets[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    octets.Insert(at, (byte)random.Next(256));
                    break;
                case 3:
                    octets.RemoveRange(at, Math.Min(random.Next(1, 20), octets.Count - at));
                    break;
                default:
                    octets.InsertRange(at, octets.GetRange(at, Math.Min(random.Next(1, 40), octets.Count - at)));
                    break;
            }
        }

        return [.. octets];
    }
}
